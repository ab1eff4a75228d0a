from __future__ import annotations

import pytest
from tiny_models import build_detector, build_segmenter

import edgevision as ev
from edgevision.errors import InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.specs import ResizeRule, Task


def test_contract_comes_from_the_file(float_model):
    classifier = ev.load(float_model)
    assert classifier.labels == ("circle", "square", "star", "cross")
    assert classifier.contract.assumed == ()


def test_overrides_count_more(float_model, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nd\n")
    classifier = ev.load(float_model, labels=names, mean=0, std=(1, 2, 3), resize="letterbox")
    assert classifier.labels == ("a", "b", "c", "d")
    preprocessing = classifier.contract.preprocessing
    assert (preprocessing.mean, preprocessing.std) == ((0,), (1, 2, 3))
    assert preprocessing.resize is ResizeRule.LETTERBOX


def test_none_is_no_override(float_model):
    assert ev.load(float_model, labels=None, mean=None).labels[0] == "circle"


def test_what_is_assumed_is_said(onnx_model):
    assumed = ev.load(onnx_model, std=255).contract.assumed
    assert "preprocessing.mean" in assumed
    assert "preprocessing.std" not in assumed


@pytest.mark.parametrize(
    ("task", "build"), [(Task.DETECT, build_detector), (Task.SEGMENT, build_segmenter)]
)
def test_other_tasks_come_later(tmp_path, task, build):
    path = tmp_path / "model.tflite"
    path.write_bytes(build())
    with pytest.raises(UnsupportedOpError, match=f"task={task}"):
        ev.load(path, task=task)


@pytest.mark.parametrize(
    "override", [{"labels": ("one",)}, {"std": 0}, {"resize": "fold"}, {"men": 1}]
)
def test_wrong_overrides_are_refused(float_model, override):
    with pytest.raises(InvalidConfigError):
        ev.load(float_model, **override)


def test_noise_is_refused(tmp_path):
    (tmp_path / "noise.tflite").write_bytes(b"noise" * 100)
    with pytest.raises(InvalidModelError, match=r"noise\.tflite"):
        ev.load(tmp_path / "noise.tflite")


@pytest.mark.parametrize(
    ("name", "task"),
    [("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", "detect"), ("deeplabv3", "segment")],
)
def test_real_files_of_other_tasks(real_data, name, task):
    with pytest.raises(UnsupportedOpError, match=f"task={task}"):
        ev.load(real_data / f"models/{name}.tflite")
