from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgevision as ev
from edgevision import backends
from edgevision.data.boxes import BoxDataset
from edgevision.errors import BackendUnavailableError, DataError
from edgevision.runtime.evaluate_detect import evaluate_detector
from edgevision.runtime.results import Detections

pytest.importorskip("pycocotools")

LABELS = ("cat", "dog")
BOX, OTHER = (0, 0, 50, 50), (60, 60, 90, 90)


class FakeDetector:
    """Finds in each file what it is told: (box, class, score) rows by file name."""

    def __init__(self, answers, labels=LABELS, named=True):
        self.contract = ev.Contract(task="detect", labels=labels if named else ())
        self.answers, self.labels = answers, labels
        self.relaxed = None

    def relax(self, **limits):
        self.relaxed = limits
        return self

    def iterate(self, files, *, threshold):
        assert threshold == 0
        for file in files:
            rows = self.answers.get(file.name, [])
            classes = np.array([row[1] for row in rows], np.int64)
            yield Detections(
                boxes=np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
                scores=np.array([row[2] for row in rows], np.float32),
                classes=classes,
                labels=tuple(self.labels[c] for c in classes),
                image_size=(100, 100),
            )


def make_dataset(truth, labels=LABELS, **values):
    """Build a data set from (box, class) rows by file name."""
    boxes = tuple(
        np.array([r[0] for r in rows], np.float32).reshape(-1, 4) for rows in truth.values()
    )
    classes = tuple(np.array([r[1] for r in rows], np.int64) for rows in truth.values())
    none = tuple(np.zeros(len(c), bool) for c in classes)
    return BoxDataset(
        files=tuple(map(Path, truth)),
        boxes=boxes,
        classes=classes,
        ignored=none,
        crowd=none,
        areas=tuple((b[:, 2:] - b[:, :2]).prod(axis=1) for b in boxes),
        labels=labels,
        **values,
    )


TRUTH = {"a.jpg": [(BOX, 0), (OTHER, 1)], "b.jpg": [(BOX, 1)], "c.jpg": []}


def test_everything_found_is_one():
    detector = FakeDetector({"a.jpg": [(BOX, 0, 0.9), (OTHER, 1, 0.02)], "b.jpg": [(BOX, 1, 0.5)]})
    result = evaluate_detector(detector, make_dataset(TRUTH))
    assert (result.map, result.map50, result.map75) == pytest.approx((1, 1, 1))
    assert result.samples == 3
    assert [(row.label, row.objects) for row in result.per_class] == [("cat", 1), ("dog", 2)]
    assert detector.relaxed == {"score_threshold": 0.01, "max_detections": 100}


def test_a_miss_and_a_mistake():
    # Of two dogs one is found behind a mistake: precision 1/2 up to recall 1/2, then 0.
    detector = FakeDetector({"a.jpg": [(BOX, 0, 0.9)], "b.jpg": [(OTHER, 1, 0.8), (BOX, 1, 0.5)]})
    result = evaluate_detector(detector, make_dataset(TRUTH))
    dog = 51 / 101 / 2  # COCO takes the recalls 0, 0.01 ... 1
    assert result.per_class[1].ap50 == pytest.approx(dog)
    assert result.map50 == pytest.approx((1 + dog) / 2)


def test_looser_boxes_count_at_lower_overlaps_only():
    # 50 x 34 inside of 50 x 50: an overlap of 0.68 reaches 0.5, 0.55, 0.6 and 0.65 of ten.
    detector = FakeDetector({"b.jpg": [((0, 0, 50, 34), 1, 0.9)]})
    result = evaluate_detector(detector, make_dataset({"b.jpg": [(BOX, 1)]}))
    assert (result.map50, result.map75, result.map) == pytest.approx((1, 0, 4 / 10))


def test_order_decides_without_names():
    detector = FakeDetector({"b.jpg": [(BOX, 1, 0.9)]}, labels=("class 0", "class 1"), named=False)
    result = evaluate_detector(detector, make_dataset({"b.jpg": [(BOX, 1)]}))
    assert result.map == pytest.approx(1)
    assert "order" in result.notes[0]
    three = make_dataset({"b.jpg": [(BOX, 1)]}, labels=("a", "b", "c"))
    with pytest.raises(DataError, match="3 classes in the data, 2 in the model"):
        evaluate_detector(detector, three)


def test_foreign_classes_are_refused():
    with pytest.raises(DataError, match="model's labels"):
        evaluate_detector(FakeDetector({}), make_dataset(TRUTH, labels=("cow", "cat")))


def test_nothing_to_evaluate_on():
    with pytest.raises(DataError, match="no images"):
        evaluate_detector(FakeDetector({}), make_dataset({}))


def test_images_without_objects_have_no_precision():
    with pytest.raises(DataError, match="1 images without a box"):
        evaluate_detector(FakeDetector({}), make_dataset({"c.jpg": []}))


def test_every_image_is_reported():
    seen = []
    evaluate_detector(
        FakeDetector({}),
        make_dataset(TRUTH),
        progress=lambda _stage, done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_missing_package_is_told_before_the_work(monkeypatch):
    def refuse(module):
        raise BackendUnavailableError("needs pycocotools", extra="eval")

    monkeypatch.setattr("edgevision.runtime.evaluate_detect.import_backend", refuse)
    with pytest.raises(BackendUnavailableError, match="eval"):
        evaluate_detector(FakeDetector({}), make_dataset(TRUTH), progress=pytest.fail)
    assert backends.EXTRAS["pycocotools"] == "eval"


def test_document_is_plain():
    dataset = make_dataset(
        {"b.jpg": [(BOX, 1)]}, skipped=((Path("x.jpg"), "cut off"),), notes=("a note",)
    )
    document = evaluate_detector(FakeDetector({}), dataset).to_dict()
    assert document == {
        "map": 0.0,
        "map50": 0.0,
        "map75": 0.0,
        "map_small": None,
        "map_medium": 0.0,  # 50 x 50 lies between 32 x 32 and 96 x 96
        "map_large": None,
        "samples": 1,
        "per_class": [{"label": "dog", "objects": 1, "ap": 0.0, "ap50": 0.0}],
        "notes": ["a note"],
        "skipped": [{"file": "x.jpg", "reason": "cut off"}],
    }
