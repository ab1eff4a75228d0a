"""Anchors and boxes of SSD detectors: laid out, encoded and decoded; NumPy only.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", arXiv:1512.02325, with the box coder of
Faster R-CNN (Ren et al. 2015, arXiv:1506.01497).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import AnchorGrid

Floats = NDArray[np.float32]

_SMALLEST = 1e-6


def lay_out_anchors(grids: Sequence[AnchorGrid]) -> Floats:
    """Return every anchor of a detector, in the order of its outputs.

    Args:
        grids: One per feature map.

    Returns:
        (A, 4) float32: centre y, centre x, height, width, as shares of the image.

    >>> lay_out_anchors([AnchorGrid(size=(1, 2), boxes=((0.5, 0.25),))]).tolist()
    [[0.5, 0.25, 0.5, 0.25], [0.5, 0.75, 0.5, 0.25]]
    """
    parts = [_lay_out_grid(grid) for grid in grids]
    return np.concatenate(parts) if parts else np.zeros((0, 4), np.float32)


def encode_boxes(boxes: NDArray[Any], anchors: NDArray[Any], scales: Sequence[float]) -> Floats:
    """Express boxes as offsets from anchors: the inverse of ``decode_boxes``.

    Args:
        boxes: (..., 4), ymin xmin ymax xmax.
        anchors: (..., 4), centre y, centre x, height, width, in the same unit.
        scales: Factors of the four offsets.

    Returns:
        (..., 4) float32: offsets of centre y and x in anchor sizes, logarithms of the ratios of
        height and width, each times its scale.
    """
    corners = np.asarray(boxes, np.float64)
    anchors = np.asarray(anchors, np.float64)
    sizes = np.maximum(corners[..., 2:] - corners[..., :2], _SMALLEST)
    centers = (corners[..., 2:] + corners[..., :2]) / 2
    shifts = (centers - anchors[..., :2]) / anchors[..., 2:]
    ratios = np.log(sizes / anchors[..., 2:])
    encoded = np.concatenate((shifts, ratios), axis=-1) * np.asarray(scales, np.float64)
    return encoded.astype(np.float32)


def decode_boxes(encodings: NDArray[Any], anchors: Floats, scales: Sequence[float]) -> Floats:
    """Turn the raw box output of a detector into boxes.

    Args:
        encodings: (..., 4) float32, offsets from the anchors.
        anchors: (..., 4) from ``lay_out_anchors``.
        scales: ``Detection.box_scales``.

    Returns:
        (..., 4) float32, ymin xmin ymax xmax as shares of the image; not clipped.

    >>> anchors = lay_out_anchors([AnchorGrid(size=(1, 1), boxes=((0.5, 0.5),))])
    >>> decode_boxes(np.zeros((1, 4), np.float32), anchors, (10, 10, 5, 5)).tolist()
    [[0.25, 0.25, 0.75, 0.75]]
    """
    offsets = np.asarray(encodings, np.float32) / np.asarray(scales, np.float32)
    centers = offsets[..., :2] * anchors[..., 2:] + anchors[..., :2]
    halves = np.exp(offsets[..., 2:]) * anchors[..., 2:] / 2
    return np.concatenate((centers - halves, centers + halves), axis=-1)


def _lay_out_grid(grid: AnchorGrid) -> Floats:
    rows, columns = grid.size
    y = (np.arange(rows, dtype=np.float64) + 0.5) / rows
    x = (np.arange(columns, dtype=np.float64) + 0.5) / columns
    anchors = np.empty((rows, columns, len(grid.boxes), 4), np.float32)
    anchors[..., 0] = y[:, None, None]
    anchors[..., 1] = x[None, :, None]
    anchors[..., 2:] = np.asarray(grid.boxes)
    return anchors.reshape(-1, 4)
