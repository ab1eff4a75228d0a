from __future__ import annotations

import numpy as np
import pytest

from edgevision.contract import AnchorGrid
from edgevision.graph.anchors import decode_boxes, lay_out_anchors
from edgevision.training.matching import BACKGROUND, IGNORED, Matcher

SCALES = (10.0, 10.0, 5.0, 5.0)
# Four cells of half the image each.
ANCHORS = lay_out_anchors([AnchorGrid(size=(2, 2), boxes=((0.5, 0.5),))])
MATCHER = Matcher(ANCHORS, SCALES)


def match(
    boxes: list[list[float]], classes: list[int], ignored: list[bool] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    flags = np.array(ignored or [False] * len(boxes), bool)
    return MATCHER(np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64), flags)


def test_an_anchor_learns_what_it_overlaps_by_half() -> None:
    # The whole upper half: IoU 1/2 with both upper cells.
    labels, encodings = match([[0.0, 0.0, 0.5, 1.0]], [2])
    assert labels.tolist() == [3, 3, BACKGROUND, BACKGROUND]
    boxes = decode_boxes(encodings[:2], ANCHORS[:2], SCALES)
    assert boxes == pytest.approx(np.array([[0, 0, 0.5, 1.0]] * 2), abs=1e-6)


def test_every_object_has_its_best_anchor() -> None:
    # IoU 0.2² / 0.5² = 0.16: below one half, but it is the best there is.
    labels, _ = match([[0.6, 0.1, 0.8, 0.3]], [0])
    assert labels.tolist() == [BACKGROUND, BACKGROUND, 1, BACKGROUND]


def test_of_two_objects_with_one_best_anchor_the_closer_one_has_it() -> None:
    labels, _ = match([[0.0, 0.0, 0.4, 0.4], [0.1, 0.1, 0.3, 0.3]], [0, 1])
    assert labels[0] == 1


def test_what_is_ignored_is_neither_object_nor_background() -> None:
    labels, _ = match([[0.0, 0.0, 0.5, 0.5]], [0], [True])
    assert labels.tolist() == [IGNORED, BACKGROUND, BACKGROUND, BACKGROUND]


def test_an_image_without_objects_is_background() -> None:
    labels, encodings = match([], [])
    assert labels.tolist() == [BACKGROUND] * 4
    assert not encodings.any()
