"""Non-maximum suppression: of boxes that overlap, the one with the best score stays.

The rules are those of TensorFlow Lite's ``TFLite_Detection_PostProcess``: greedy from the best
score down, a box goes where its intersection over union with a better one is *above* the threshold,
boxes without area overlap nothing, equal scores keep their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]

# So many candidates at a time: enough for most images, and their overlaps fit into the cache.
_BLOCK = 128


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[Any] | None,
    *,
    iou_threshold: float,
    max_detections: int,
) -> Indices:
    """Choose boxes, best score first.

    Class-wise suppression followed by keeping the best ``max_detections`` is what
    ``use_regular_nms`` means in TensorFlow Lite.

    Args:
        boxes: (N, 4), two opposite corners each: ymin xmin ymax xmax, in any unit.
        scores: (N,).
        classes: (N,) where only boxes of the same class suppress each other; ``None`` where all do.
        iou_threshold: Largest intersection over union that two chosen boxes may have.
        max_detections: How many boxes to choose at most.

    Returns:
        (M,) indices into the arguments.

    >>> boxes = np.float32([[0, 0, 2, 2], [0, 0, 2, 1.9], [5, 5, 6, 6]])
    >>> scores = np.float32([0.6, 0.9, 0.7])
    >>> suppress(boxes, scores, None, iou_threshold=0.5, max_detections=9).tolist()
    [1, 2]
    >>> suppress(boxes, scores, np.array([0, 1, 1]), iou_threshold=0.5, max_detections=9).tolist()
    [1, 2, 0]
    """
    order = np.argsort(-scores, kind="stable")
    kept = order[:0]
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        if len(kept):
            beaten = _find_overlaps(boxes, classes, kept, block, iou_threshold).any(axis=0)
            block = block[~beaten]
        rivals = _find_overlaps(boxes, classes, block, block, iou_threshold)
        kept = np.concatenate((kept, block[_choose_greedily(rivals)]))
        if len(kept) >= max_detections:
            break
    return kept[:max_detections]


def _find_overlaps(
    boxes: NDArray[np.float32],
    classes: NDArray[Any] | None,
    first: Indices,
    second: Indices,
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Tell which of ``first`` (rows) overlap which of ``second`` (columns) too much."""
    a, b = boxes[first][:, None], boxes[second][None]
    low = np.maximum(a[..., :2], b[..., :2])
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    union = _measure_areas(a) + _measure_areas(b) - shared
    overlapping: NDArray[np.bool_] = shared > np.float32(iou_threshold) * union
    if classes is not None:
        overlapping &= classes[first][:, None] == classes[second][None]
    return overlapping


def _measure_areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = boxes[..., 2:] - boxes[..., :2]
    areas: NDArray[np.float32] = sides[..., 0] * sides[..., 1]
    return areas


def _choose_greedily(overlapping: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep each of a sorted row of boxes that overlaps no box kept before it.

    Args:
        overlapping: (N, N), symmetric.
    """
    later = np.triu(overlapping, 1)
    alive = np.ones(len(later), np.bool_)
    for row in np.flatnonzero(later.any(axis=1)):
        if alive[row]:
            alive &= ~later[row]
    return alive
