from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_detectors import CONTRACT, DETECTION, LABELS, build_detector_body
from tiny_models import build_segmenter

from edgevision.cli.app import run as run_command
from edgevision.contract import Contract
from edgevision.converters.agreement import BoxAgreement
from edgevision.converters.convert import convert
from edgevision.converters.verify import verify
from edgevision.converters.verify_results import DetectorVerification, SegmenterVerification
from edgevision.errors import InvalidConfigError
from edgevision.graph.argmax import append_argmax
from edgevision.graph.contracts import attach_contract
from edgevision.metrics.detection import FoundBoxes
from edgevision.runtime.load import load
from edgevision.specs import ScoreKind, Task

NUM_IMAGES = 5
SEGMENTER = Contract(
    task=Task.SEGMENT, labels=("background", "a", "b", "c"), scores=ScoreKind.LOGITS
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(NUM_IMAGES):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 30)).save(folder / f"{index}.png")
    return folder


def write_detector(path: Path, *, seed: int = 0, **changes: Any) -> Path:
    contract = replace(CONTRACT, **changes)
    path.write_bytes(attach_contract(build_detector_body(seed=seed), contract))
    return path


def write_segmenter(path: Path, *, flipped: bool = False) -> Path:
    model = build_segmenter(varied=True)
    if flipped:
        model = build_segmenter()
    path.write_bytes(attach_contract(model, SEGMENTER))
    return path


def test_two_endings_of_a_detector_agree(photographs: Path, tmp_path: Path) -> None:
    raw = write_detector(tmp_path / "raw.tflite")
    boxes = convert(raw, tmp_path / "boxes.tflite", heads="nms").output

    result = verify(raw, boxes, data=photographs, min_agreement=1.0)

    assert isinstance(result, DetectorVerification)
    assert (result.box_agreement, result.map_delta, result.metric) == (1.0, 0.0, "map50")
    assert (result.samples, result.annotated, result.passed) == (NUM_IMAGES, False, True)
    assert len(result.worst) == NUM_IMAGES
    assert result.warnings == ()


def test_another_detector_fails_the_gate(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_detector(tmp_path / "a.tflite")
    second = write_detector(tmp_path / "b.tflite", seed=7)
    options = ["--data", str(photographs), "--min-agreement", "0.95", "--json"]

    code = run_command(["verify", str(first), str(second), *options])

    document = json.loads(capsys.readouterr().out)
    assert (code, document["passed"]) == (1, False)
    assert document["map_delta"] < -0.3
    assert document["reference_map"] == 1.0
    assert "of the boxes, 95.0% was asked for" in document["failure"]


def write_boxes(folder: Path, model: Path) -> None:
    """Annotate images with what a model finds on them."""
    detector = load(model)
    images, annotations = [], []
    for number, file in enumerate(sorted(folder.glob("*.png"))):
        images.append({"id": number, "file_name": file.name, "width": 40, "height": 30})
        for thing in detector.predict(file, threshold=0.5):
            ymin, xmin, ymax, xmax = thing.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": thing.index + 1,
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                    "area": (xmax - xmin) * (ymax - ymin),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))


def test_annotated_images_measure_both_detectors(photographs: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    folder = tmp_path / "coco"
    folder.mkdir()
    for file in photographs.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    first = write_detector(tmp_path / "a.tflite")
    second = write_detector(tmp_path / "b.tflite", seed=7)
    write_boxes(folder, first)

    result = verify(first, second, data=folder)

    assert isinstance(result, DetectorVerification)
    assert (result.metric, result.annotated) == ("map", True)
    assert result.reference_map > 0.5
    assert result.map_delta == pytest.approx(result.candidate_map - result.reference_map)
    assert result.map_delta < -0.2
    assert verify(first, first, data=folder, limit=2).samples == 2


def test_images_that_hold_no_object_are_photographs_alone(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "coco"
    folder.mkdir()
    file = folder / "0.png"
    file.write_bytes((photographs / "0.png").read_bytes())
    image = {"id": 1, "file_name": file.name, "width": 40, "height": 30}
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(LABELS)]
    document = {"images": [image], "annotations": [], "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    model = write_detector(tmp_path / "a.tflite")

    assert run_command(["verify", str(model), str(model), "--data", str(folder)]) == 0

    table = capsys.readouterr().out
    assert "mAP50 against reference" in table
    assert "+0.00 points" in table


def test_silent_detectors_say_nothing(photographs: Path, tmp_path: Path) -> None:
    quiet = replace(DETECTION, score_threshold=1.0)
    path = write_detector(tmp_path / "a.tflite", detection=quiet)
    model = convert(path, tmp_path / "boxes.tflite", heads="nms").output

    result = verify(model, model, data=photographs)

    assert isinstance(result, DetectorVerification)
    assert (result.box_agreement, result.map_delta) == (1.0, 0.0)
    assert any("neither model finds a box" in text for text in result.warnings)


def test_detectors_of_other_classes_are_refused(photographs: Path, tmp_path: Path) -> None:
    first = write_detector(tmp_path / "a.tflite")
    second = write_detector(tmp_path / "b.tflite", labels=("circle", "triangle"))

    with pytest.raises(InvalidConfigError, match="class 1: square and triangle"):
        verify(first, second, data=photographs)


def test_two_endings_of_a_segmenter_agree(photographs: Path, tmp_path: Path) -> None:
    scores = write_segmenter(tmp_path / "scores.tflite")
    mapped = tmp_path / "map.tflite"
    mapped.write_bytes(attach_contract(append_argmax(build_segmenter(varied=True)), SEGMENTER))

    result = verify(scores, mapped, data=photographs)
    same = verify(scores, scores, data=photographs, min_agreement=1.0)

    assert isinstance(result, SegmenterVerification)
    # Scores are interpolated to the size of the image, class numbers are not.
    assert 0.8 < result.pixel_agreement < 1
    assert -0.5 < result.miou_delta < 0
    assert (same.agreement, same.passed) == (1.0, True)


def test_masks_measure_both_segmenters(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_segmenter(tmp_path / "a.tflite")
    second = write_segmenter(tmp_path / "b.tflite", flipped=True)
    folder = tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    segmenter = load(first)
    for file in photographs.iterdir():
        (folder / "images" / file.name).write_bytes(file.read_bytes())
        Image.fromarray(segmenter.predict(file).mask).save(folder / "masks" / file.name)
    options = ["--data", str(folder), "--min-agreement", "0.9"]

    code = run_command(["verify", str(first), str(second), *options])

    assert code == 1
    assert "of the pixels, 90.0% was asked for" in capsys.readouterr().err
    result = verify(first, second, data=folder)
    assert isinstance(result, SegmenterVerification)
    assert (result.annotated, result.reference_miou) == (True, 1.0)
    assert result.miou_delta == result.candidate_miou - 1 < -0.2


def test_a_score_that_crosses_the_threshold_is_no_other_answer() -> None:
    box = np.float32([[0, 0, 10, 10]])
    classes = np.zeros(1, np.int64)

    def find(score: float) -> FoundBoxes:
        return FoundBoxes(boxes=box, classes=classes, scores=np.float32([score]))

    agreement = BoxAgreement()
    assert agreement.add(find(0.31), find(0.29)) == 1.0
    assert (agreement.num_reference, agreement.num_found) == (1, 1)
    assert (agreement.num_candidate, agreement.num_right) == (0, 0)
    strict = BoxAgreement()
    assert strict.add(find(0.31), find(0.1)) == 0.0
