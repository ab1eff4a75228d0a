from __future__ import annotations

import pytest
from tiny_detectors import CONTRACT, DETECTION, build_detector_body
from tiny_models import build_segmenter

import edgevision as ev
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.contracts import attach_contract
from edgevision.graph.postprocess import append_postprocess
from edgevision.specs import ResizeRule


def write_detector(path):
    model = append_postprocess(build_detector_body(), DETECTION, 2)
    path.write_bytes(attach_contract(model, CONTRACT))
    return path


def write_segmenter(path):
    path.write_bytes(build_segmenter())
    return path


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


def test_task_decides_the_class(float_model, tmp_path):
    assert isinstance(ev.load(float_model), ev.Classifier)
    for task, write in ((ev.Detector, write_detector), (ev.Segmenter, write_segmenter)):
        assert type(ev.load(write(tmp_path / f"{task.__name__}.tflite"))) is task


def test_raw_heads_without_anchors_are_refused(tmp_path):
    path = tmp_path / "raw.tflite"
    path.write_bytes(build_detector_body())
    with pytest.raises(InvalidModelError, match="needs its anchors"):
        ev.load(path)


def test_classifier_is_no_segmenter(float_model):
    with pytest.raises(InvalidConfigError, match="outputs say classify"):
        ev.load(float_model, task="segment")


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


def test_real_files_of_other_tasks(real_data):
    name = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    detector = ev.load(real_data / "models" / name)
    assert isinstance(detector, ev.Detector)
    assert (len(detector.labels), detector.labels[0], detector.labels[-1]) == (
        90,
        "person",
        "toothbrush",
    )
    segmenter = ev.load(real_data / "models/deeplabv3.tflite")
    assert isinstance(segmenter, ev.Segmenter)
    assert (segmenter.num_classes, segmenter.labels[0]) == (21, "background")


@pytest.mark.parametrize(
    "limit",
    [
        {"iou_threshold": 0.3},
        {"class_agnostic": True},
        {"score_threshold": 0.1},
        {"max_detections": 50},
    ],
)
def test_suppression_in_the_file_follows_its_own_limits(limit, tmp_path):
    path = write_detector(tmp_path / "boxes.tflite")
    with pytest.raises(InvalidConfigError, match=r"itself.*, the file has"):
        ev.load(path, **limit)
    raw = tmp_path / "raw.tflite"
    raw.write_bytes(attach_contract(build_detector_body(), CONTRACT))
    ev.load(raw, **limit)


def test_stricter_limits_are_those_of_the_reader(tmp_path):
    path = write_detector(tmp_path / "boxes.tflite")
    rules = ev.load(
        path, score_threshold=0.5, max_detections=3, iou_threshold=DETECTION.iou_threshold
    ).contract.detection
    assert (rules.score_threshold, rules.max_detections) == (0.5, 3)
