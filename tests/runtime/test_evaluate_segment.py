from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgevision as ev
from edgevision.errors import DataError
from edgevision.runtime.evaluate_segment import evaluate_segmenter
from edgevision.runtime.results import Segmentation

LABELS = ("background", "cell")
TRUE = np.array([[0, 0, 1, 1], [0, 0, 1, 255]], np.uint8)
FOUND = np.array([[0, 1, 1, 1], [0, 0, 0, 0]], np.uint8)


class FakeSegmenter:
    """Answers the masks that it is told, one a file."""

    def __init__(self, masks, labels=LABELS):
        self.contract = ev.Contract(task="segment", labels=labels)
        self.masks, self.labels = masks, labels

    def iterate(self, files):
        for _, mask in zip(files, self.masks, strict=True):
            yield Segmentation(mask=mask, labels=self.labels)


class FakeDataset:
    """Holds the masks themselves."""

    def __init__(self, masks, labels=LABELS):
        self.masks, self.labels = masks, labels
        self.files = tuple(Path(f"{i}.png") for i in range(len(masks)))
        self.notes, self.skipped = (), ()

    def __len__(self):
        return len(self.files)

    def load_mask(self, index):
        return self.masks[index]


def test_figures_follow_from_the_counts():
    # Of 7 counted pixels: background 3 right, 1 taken for a cell; cells 2 right, 1 missed.
    result = evaluate_segmenter(FakeSegmenter([FOUND]), FakeDataset([TRUE]))
    assert result.pixel_accuracy == pytest.approx(5 / 7)
    assert [row.iou for row in result.per_class] == pytest.approx([3 / 5, 2 / 4])
    assert [row.dice for row in result.per_class] == pytest.approx([6 / 8, 4 / 6])
    assert result.mean_iou == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert result.mean_dice == pytest.approx((6 / 8 + 4 / 6) / 2)
    assert result.samples == 1


def test_images_add_up():
    one = evaluate_segmenter(FakeSegmenter([FOUND]), FakeDataset([TRUE]))
    two = evaluate_segmenter(FakeSegmenter([FOUND] * 2), FakeDataset([TRUE] * 2))
    assert (two.samples, two.mean_iou) == (2, one.mean_iou)


def test_what_the_model_did_not_see_does_not_count():
    found = FOUND.copy()
    found[:, 0] = 255
    result = evaluate_segmenter(FakeSegmenter([found]), FakeDataset([TRUE]))
    assert result.pixel_accuracy == pytest.approx(3 / 5)
    assert "2 pixels" in result.notes[0]


def test_classes_that_occur_nowhere_are_left_out():
    labels = (*LABELS, "dust")
    result = evaluate_segmenter(FakeSegmenter([FOUND], labels), FakeDataset([TRUE], labels))
    assert [row.label for row in result.per_class] == ["background", "cell"]


def test_masks_without_a_pixel_that_counts_have_no_overlap():
    with pytest.raises(DataError, match="pixels that count"):
        evaluate_segmenter(FakeSegmenter([FOUND]), FakeDataset([np.full_like(TRUE, 255)]))


def test_sizes_and_classes_must_fit():
    with pytest.raises(DataError, match=r"0\.png"):
        evaluate_segmenter(FakeSegmenter([FOUND[:1]]), FakeDataset([TRUE]))
    with pytest.raises(DataError, match="model's labels"):
        evaluate_segmenter(FakeSegmenter([FOUND]), FakeDataset([TRUE], ("a", "b")))
    with pytest.raises(DataError, match="no images"):
        evaluate_segmenter(FakeSegmenter([]), FakeDataset([]))


def test_document_is_plain():
    seen = []
    result = evaluate_segmenter(
        FakeSegmenter([TRUE % 255]),
        FakeDataset([TRUE]),
        progress=lambda _stage, done, total: seen.append((done, total)),
    )
    assert seen == [(1, 1)]
    assert result.to_dict() == {
        "pixel_accuracy": 1.0,
        "mean_iou": 1.0,
        "mean_dice": 1.0,
        "samples": 1,
        "per_class": [
            {"label": "background", "iou": 1.0, "dice": 1.0},
            {"label": "cell", "iou": 1.0, "dice": 1.0},
        ],
        "notes": [],
        "skipped": [],
    }
