from __future__ import annotations

import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_detectors import CONTRACT as DETECTOR
from tiny_detectors import DETECTION, LABELS, build_detector_body
from tiny_models import build_classifier, build_detector, build_segmenter, run_model

from edgevision.contract import Contract, Preprocessing
from edgevision.errors import InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.graph.archives import append_files, read_files
from edgevision.graph.contracts import (
    attach_contract,
    complete_contract,
    read_contract,
    read_labels,
    write_contract,
)
from edgevision.graph.flatbuffer import add_metadata
from edgevision.graph.postprocess import append_postprocess
from edgevision.graph.tflite import read_tflite
from edgevision.specs import ColorOrder, Quantization, ResizeRule, ScoreKind, Task

CONTRACT = Contract(
    task=Task.CLASSIFY,
    labels=("cat, tabby", "größe", "猫"),
    preprocessing=Preprocessing(
        resize=ResizeRule.CROP, crop_fraction=0.875, mean=(1, 2, 3), std=(4, 5, 6)
    ),
    scores=ScoreKind.PROBABILITIES,
    name="tiny",
)


def make_onnx(path: Path) -> Path:
    path.write_bytes(bytes([8, 9, 58, 0]))
    return path


def make_keras(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    return path


def make_tflite(path: Path) -> Path:
    path.write_bytes(build_classifier())
    return path


@pytest.mark.parametrize(
    ("name", "make"), [("m.tflite", make_tflite), ("m.onnx", make_onnx), ("m.keras", make_keras)]
)
def test_a_contract_travels_in_every_format(tmp_path: Path, name: str, make) -> None:
    path = make(tmp_path / name)
    assert read_contract(path) is None
    write_contract(path, CONTRACT)
    assert read_contract(path) == CONTRACT
    changed = replace(CONTRACT, labels=(), name="other", assumed=("task",))
    write_contract(path, changed, tmp_path / f"copy-{name}")
    assert read_contract(tmp_path / f"copy-{name}") == changed
    assert read_contract(path) == CONTRACT
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, f"copy-{name}"])


def test_attaching_twice_replaces_everything() -> None:
    model = build_classifier()
    once = attach_contract(model, CONTRACT)
    twice = attach_contract(attach_contract(model, replace(CONTRACT, name="other")), CONTRACT)
    assert read_tflite(twice).file_bytes == len(once)
    files = read_files(twice)
    assert list(files) == ["labels.txt", "edgevision.json"]
    assert files["labels.txt"].decode() == "cat, tabby\ngröße\n猫\n"
    assert json.loads(files["edgevision.json"])["preprocessing"]["crop_fraction"] == 0.875
    np.testing.assert_array_equal(run_model(twice)[0], run_model(model)[0])


def test_wrong_number_of_labels_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="4 labels, 3 classes"):
        attach_contract(build_classifier(), replace(CONTRACT, labels=tuple("abcd")))
    with pytest.raises(InvalidConfigError, match="2 labels, 3 classes"):
        complete_contract(None, read_tflite(build_classifier()), {"labels": ["a", "b"]})


def test_labels_with_newlines_are_refused() -> None:
    with pytest.raises(InvalidConfigError, match="line break"):
        attach_contract(build_classifier(), replace(CONTRACT, labels=("a", "b\nc", "d")))


def test_standard_metadata_alone_are_understood(tmp_path: Path) -> None:
    model = attach_contract(build_classifier(), CONTRACT)
    foreign = add_metadata(model, {}, files={"labels.txt": b"a\nb\nc"})
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign)
    contract = read_contract(path)
    assert contract is not None
    assert contract.task is Task.CLASSIFY
    assert contract.labels == ("a", "b", "c")
    assert contract.preprocessing.mean == (1, 2, 3)
    assert contract.preprocessing.std == (4, 5, 6)
    assert contract.assumed == ("task", "scores", "preprocessing.resize")


def test_a_plain_zip_with_labels_is_a_contract(tmp_path: Path) -> None:
    path = tmp_path / "plain.tflite"
    path.write_bytes(append_files(build_classifier(), {"my_labels.txt": b"a\nb\nc\n"}))
    contract = read_contract(path)
    assert contract is not None
    assert contract.labels == ("a", "b", "c")
    assert "preprocessing.mean" in contract.assumed


def test_a_damaged_contract_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.tflite"
    for content in (b"not json", b"[]", b'{"task": "dance"}'):
        path.write_bytes(append_files(build_classifier(), {"edgevision.json": content}))
        with pytest.raises(InvalidModelError, match="contract in the model file is damaged"):
            read_contract(path)


def test_damaged_files_give_one_kind_of_error(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "bad.tflite"
    model = attach_contract(build_classifier(), CONTRACT)
    refused = 0
    for _ in range(300):
        data = bytearray(model)
        for _ in range(3):
            # The archive and the tables in front of it matter, not the weights.
            data[-rng.randrange(1, 1000)] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_contract(path)
        except InvalidModelError:
            refused += 1
    assert 0 < refused < 300


def test_files_that_carry_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_contract(tmp_path / "missing.tflite")
    with pytest.raises(MissingFileError):
        write_contract(tmp_path / "missing.tflite", CONTRACT)
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert read_contract(path) is None
    with pytest.raises(InvalidConfigError, match="only"):
        write_contract(path, CONTRACT)


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (build_classifier, Task.CLASSIFY),
        (build_detector, Task.DETECT),
        (build_segmenter, Task.SEGMENT),
    ],
)
def test_the_task_is_guessed_from_the_outputs(model, task: Task) -> None:
    contract = complete_contract(None, read_tflite(model()), {})
    assert contract.task is task
    assert "task" in contract.assumed


def test_everything_assumed_is_named() -> None:
    contract = complete_contract(None, read_tflite(build_classifier()), {})
    assert contract.preprocessing == Preprocessing()
    assert set(contract.assumed) == {
        "task",
        "scores",
        "preprocessing.resize",
        "preprocessing.mean",
        "preprocessing.std",
        "preprocessing.color",
    }


def test_overrides_count_more_and_are_not_assumed() -> None:
    graph = read_tflite(build_classifier())
    given = {
        "task": "classify",
        "labels": ["a", "b", "c"],
        "mean": 0,
        "std": [1, 2, 3],
        "crop_fraction": 0.5,
        "color": "bgr",
        "scores": "logits",
        "name": None,
    }
    contract = complete_contract(CONTRACT, graph, given)
    assert contract.labels == ("a", "b", "c")
    assert contract.preprocessing == Preprocessing(
        resize=ResizeRule.CROP,
        crop_fraction=0.5,
        mean=(0,),
        std=(1, 2, 3),
        color=ColorOrder.BGR,
    )
    assert contract.scores is ScoreKind.LOGITS
    assert contract.name == "tiny"
    assert complete_contract(None, graph, given).assumed == ()


@pytest.mark.parametrize(
    "overrides",
    [
        {"task": "dance"},
        {"std": 0},
        {"mean": [1, 2]},
        {"mean": "much"},
        {"resize": "shrink"},
        {"crop_fraction": 2},
        {"colour": "rgb"},
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigError):
        complete_contract(None, read_tflite(build_classifier()), overrides)


def test_logits_and_gray_inputs_are_recognized() -> None:
    graph = read_tflite(build_classifier(softmax=False, channels=1))
    contract = complete_contract(None, graph, {})
    assert contract.scores is ScoreKind.LOGITS
    assert contract.preprocessing.color is ColorOrder.GRAY
    with pytest.raises(InvalidConfigError, match="gray"):
        complete_contract(None, graph, {"mean": [1, 2, 3]})


@pytest.mark.parametrize(
    ("scale", "zero_point", "mean", "std"),
    [(1 / 128, 128, 128.0, 128.0), (1 / 255, 0, 0.0, 255.0), (1.0, 0, 0.0, 1.0)],
)
def test_a_quantized_input_tells_its_own_normalization(
    scale: float, zero_point: int, mean: float, std: float
) -> None:
    model = build_classifier(input_quantization=Quantization((scale,), (zero_point,)))
    preprocessing = complete_contract(None, read_tflite(model), {}).preprocessing
    assert preprocessing.mean == (mean,)
    assert preprocessing.std == pytest.approx((std,), rel=1e-6)
    # A pixel then becomes itself: real = (pixel - mean) / std, stored = real / scale + zero point.
    stored = (200 - mean) / preprocessing.std[0] / scale + zero_point
    assert stored == pytest.approx(200, abs=1e-3)


def test_background_comes_and_goes_with_imagenet_lists() -> None:
    names = [f"class {i}" for i in range(1000)]
    graph = read_tflite(build_classifier(num_classes=1001))
    contract = complete_contract(None, graph, {"labels": names})
    assert contract.labels == ("background", *names)
    assert "labels" in contract.assumed
    graph = read_tflite(build_classifier(num_classes=1000))
    contract = complete_contract(None, graph, {"labels": ["Background", *names]})
    assert contract.labels == tuple(names)
    with pytest.raises(InvalidConfigError, match="1001 labels, 1000 classes"):
        complete_contract(None, graph, {"labels": [*names, "one more"]})


def test_labels_come_from_files_too(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\nc\n\n", encoding="utf-8")
    graph = read_tflite(build_classifier())
    assert complete_contract(None, graph, {"labels": path}).labels == ("a", "b", "c")
    with pytest.raises(MissingFileError):
        read_labels(tmp_path / "missing.txt")
    path.write_text("\n")
    with pytest.raises(InvalidConfigError, match="no label"):
        read_labels(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfigError, match="UTF-8"):
        read_labels(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v1_0.25_224_1_metadata_1", (Task.CLASSIFY, 1001, "background")),
        ("coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", (Task.DETECT, 90, "person")),
        ("deeplabv3", (Task.SEGMENT, 21, "background")),
    ],
)
def test_real_contracts(
    real_data: Path, tmp_path: Path, name: str, expected: tuple[Task, int, str]
) -> None:
    source = real_data / f"models/{name}.tflite"
    contract = read_contract(source)
    assert contract is not None
    assert (contract.task, len(contract.labels), contract.labels[0]) == expected
    assert contract.preprocessing.mean == contract.preprocessing.std == (127.5,)
    output = tmp_path / "again.tflite"
    write_contract(source, contract, output)
    assert read_contract(output) == contract
    assert output.stat().st_size < source.stat().st_size + 4096


def test_stated_task_must_not_contradict_the_outputs():
    graph = read_tflite(build_classifier())
    with pytest.raises(InvalidConfigError, match="the outputs say classify"):
        complete_contract(None, graph, {"task": "detect"})
    assert complete_contract(None, graph, {"task": "classify"}).task is Task.CLASSIFY


@pytest.mark.parametrize("ends_in_boxes", [False, True])
def test_a_detectors_labels_must_be_its_objects(ends_in_boxes: bool) -> None:
    model = build_detector_body()
    if ends_in_boxes:
        model = append_postprocess(model, DETECTION, len(LABELS))
    written = attach_contract(model, DETECTOR)
    graph = read_tflite(written)
    assert complete_contract(DETECTOR, graph, {}) == DETECTOR

    with pytest.raises(InvalidConfigError, match="3 labels, 2 classes"):
        attach_contract(model, replace(DETECTOR, labels=("a", "b", "c")))
    named = complete_contract(DETECTOR, graph, {"labels": ("background", *LABELS)})
    assert named.labels == LABELS


def test_labels_tell_whether_there_is_a_background() -> None:
    graph = read_tflite(build_detector_body())  # three scores

    for labels, background in ((("a", "b"), True), (("a", "b", "c"), False)):
        contract = complete_contract(None, graph, {"labels": labels})
        assert contract.detection is not None
        assert (contract.detection.background, contract.labels) == (background, labels)
    named = complete_contract(None, graph, {"labels": ("background", "a", "b")})
    assert named.labels == ("a", "b")


def test_limits_of_a_detector_can_be_stated() -> None:
    graph = read_tflite(build_detector_body())
    limits = {"score_threshold": 0.5, "iou_threshold": 0.4, "max_detections": 7}

    stated = complete_contract(DETECTOR, graph, {**limits, "class_agnostic": True})

    assert stated.detection == replace(DETECTION, **limits, class_agnostic=True)
    with pytest.raises(InvalidConfigError, match="max_detections must be at least 1"):
        complete_contract(DETECTOR, graph, {"max_detections": 0})
    with pytest.raises(InvalidConfigError, match="only a detector"):
        complete_contract(None, read_tflite(build_classifier()), {"iou_threshold": 0.5})


def test_a_detector_without_a_contract_tells_its_suppression() -> None:
    model = append_postprocess(build_detector_body(), DETECTION, len(LABELS))

    contract = complete_contract(None, read_tflite(model), {})

    assert contract.task is Task.DETECT
    assert contract.detection is not None
    assert contract.detection.max_detections == DETECTION.max_detections
    assert len(contract.detection.anchors) == len(DETECTION.anchors)
    assert "detection" not in contract.assumed
    raw = complete_contract(None, read_tflite(build_detector_body()), {})
    assert raw.scores is ScoreKind.PROBABILITIES
    assert "detection" in raw.assumed


def test_real_detectors_and_segmenters_say_what_they_do(real_data: Path) -> None:
    folder = real_data / "models"
    path = folder / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    found = complete_contract(read_contract(path), read_tflite(path), {})
    assert (found.task, len(found.labels), found.labels[0]) == (Task.DETECT, 90, "person")
    assert (found.preprocessing.mean, found.preprocessing.std) == ((127.5,), (127.5,))
    assert found.detection is not None
    assert (found.detection.max_detections, found.detection.class_agnostic) == (10, True)

    path = folder / "deeplabv3.tflite"
    found = complete_contract(read_contract(path), read_tflite(path), {})
    assert (found.task, len(found.labels), found.labels[0]) == (Task.SEGMENT, 21, "background")
    assert (found.preprocessing.mean, found.preprocessing.std) == ((127.5,), (127.5,))
    assert found.scores is ScoreKind.LOGITS
