from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_detectors import DETECTION, NUM_ANCHORS, suppress_plainly

from edgevision.graph.anchors import decode_boxes, lay_out_anchors
from edgevision.runtime.nms import suppress

UNIT = [0, 0, 1, 1]


def choose(boxes, scores, classes=None, iou=0.5, count=100):
    boxes, scores = np.array(boxes, np.float32), np.array(scores, np.float32)
    classes = None if classes is None else np.array(classes)
    chosen = suppress(boxes, scores, classes, iou_threshold=iou, max_detections=count)
    return chosen.tolist()


def test_best_of_a_heap_stays():
    assert choose([UNIT, UNIT, UNIT], [0.2, 0.9, 0.3]) == [1]


def test_classes_do_not_suppress_each_other():
    assert choose([UNIT, UNIT, UNIT], [0.2, 0.9, 0.3], [0, 1, 0]) == [1, 2]


def test_an_overlap_of_exactly_the_threshold_stays():
    # Halves of a unit square: 0.5 shared of 1.
    boxes = [UNIT, [0, 0, 1, 0.5]]
    assert choose(boxes, [0.9, 0.8], iou=0.5) == [0, 1]
    assert choose(boxes, [0.9, 0.8], iou=0.49) == [0]


def test_a_suppressed_box_suppresses_nothing():
    boxes = [[0, 0, 1, 1], [0, 0.3, 1, 1.3], [0, 0.6, 1, 1.6]]
    assert choose(boxes, [0.9, 0.8, 0.7]) == [0, 2]


def test_equal_scores_keep_their_order():
    assert choose([UNIT, [2, 2, 3, 3], UNIT], [0.5, 0.5, 0.5]) == [0, 1]


def test_boxes_without_area_stay():
    assert choose([[1, 1, 1, 1], [1, 1, 1, 1]], [0.9, 0.8]) == [0, 1]


def test_no_more_than_asked_for():
    boxes = [[i, 0, i + 1, 1] for i in range(300)]
    scores = np.linspace(0.1, 0.9, 300)
    assert choose(boxes, scores, count=7) == list(range(299, 292, -1))


def test_nothing_gives_nothing():
    assert choose(np.zeros((0, 4)), []) == []


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_same_boxes_as_plain_loops(seed, class_agnostic):
    rng = np.random.default_rng(seed)
    rules = replace(
        DETECTION,
        class_agnostic=class_agnostic,
        background=False,
        max_detections=int(rng.integers(3, 60)),
    )
    encodings = rng.normal(0, 2, (NUM_ANCHORS, 4)).astype(np.float32)
    table = rng.uniform(0, 1, (NUM_ANCHORS, 7)).astype(np.float32)
    boxes = decode_boxes(encodings, lay_out_anchors(rules.anchors), rules.box_scales)
    if class_agnostic:
        rows, classes = np.arange(NUM_ANCHORS), table.argmax(axis=1)
    else:
        rows, classes = np.divmod(np.arange(table.size), table.shape[1])
    kept = table[rows, classes] >= np.float32(rules.score_threshold)
    rows, classes = rows[kept], classes[kept]
    chosen = suppress(
        boxes[rows],
        table[rows, classes],
        None if class_agnostic else classes,
        iou_threshold=rules.iou_threshold,
        max_detections=rules.max_detections,
    )
    expected = suppress_plainly(encodings, table, rules)
    np.testing.assert_array_equal(boxes[rows][chosen], expected[0])
    np.testing.assert_array_equal(classes[chosen], expected[1])
    np.testing.assert_array_equal(table[rows, classes][chosen], expected[2])
