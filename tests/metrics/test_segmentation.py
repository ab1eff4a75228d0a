from __future__ import annotations

import json

import numpy as np
import pytest

from edgevision.errors import DataError, InvalidConfigError
from edgevision.metrics.segmentation import SegmentationCounts

TRUTH = np.array([[0, 0, 0, 1], [0, 1, 1, 1], [2, 2, 255, 255]])
FOUND = np.array([[0, 0, 1, 1], [0, 1, 1, 0], [2, 0, 1, 2]])


def test_figures_by_hand() -> None:
    counts = SegmentationCounts(4)
    counts.add(FOUND, TRUTH)
    assert counts.matrix.tolist() == [[3, 1, 0, 0], [1, 3, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert counts.num_pixels == 10
    assert counts.pixel_accuracy == pytest.approx(7 / 10)
    ious = [3 / (4 + 5 - 3), 3 / (4 + 4 - 3), 1 / (2 + 1 - 1)]
    dices = [2 * 3 / (4 + 5), 2 * 3 / (4 + 4), 2 * 1 / (2 + 1)]
    assert counts.per_class_iou[:3] == pytest.approx(ious)
    assert counts.per_class_dice[:3] == pytest.approx(dices)
    # The fourth class is neither there nor found.
    assert np.isnan(counts.per_class_iou[3])
    assert np.isnan(counts.per_class_dice[3])
    assert counts.mean_iou == pytest.approx(sum(ious) / 3)
    assert counts.mean_dice == pytest.approx(sum(dices) / 3)


def test_class_that_is_only_found_counts_as_zero() -> None:
    counts = SegmentationCounts(2)
    counts.add([0, 1], [0, 0])
    assert counts.per_class_iou.tolist() == [1 / 2, 0]
    assert counts.mean_iou == pytest.approx(1 / 4)


def test_images_add_up_pixel_by_pixel() -> None:
    whole, pieces = SegmentationCounts(3), SegmentationCounts(3)
    whole.add(FOUND, TRUTH)
    for predicted, truth in zip(FOUND, TRUTH, strict=True):
        pieces.add(predicted.astype(np.uint8), truth.astype(np.uint8))
    assert np.array_equal(whole.matrix, pieces.matrix)


def test_prediction_below_ignored_pixels_may_be_anything() -> None:
    counts = SegmentationCounts(2)
    counts.add([0, 255, 77], [0, 255, 255])
    assert counts.num_pixels == 1
    counts = SegmentationCounts(2)
    counts.add([0, 1], [0, 9], ignore_index=9)
    assert counts.pixel_accuracy == 1


def test_nothing_counted() -> None:
    counts = SegmentationCounts(2)
    counts.add([[1]], [[255]])
    assert np.isnan(counts.pixel_accuracy)
    assert np.isnan(counts.mean_iou)
    figures = counts.to_dict()
    assert figures["mean_iou"] is figures["pixel_accuracy"] is figures["mean_dice"] is None
    assert json.loads(json.dumps(figures))["per_class_iou"] == [None, None]


def test_values_and_shapes_are_checked() -> None:
    counts = SegmentationCounts(2)
    with pytest.raises(DataError, match=r"predicted values .*below 2.*2 to 2"):
        counts.add([2], [0])
    with pytest.raises(DataError, match=r"true values .*-1 to 3"):
        counts.add([0, 0], [-1, 3])
    with pytest.raises(DataError, match="shape"):
        counts.add([[0, 1]], [0, 1])
    assert counts.num_pixels == 0
    with pytest.raises(InvalidConfigError):
        SegmentationCounts(0)
