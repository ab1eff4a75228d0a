"""Which anchor answers for which object.

Liu et al. 2016 (arXiv:1512.02325, section 2.2): every anchor that overlaps an object by at least
half learns it, and every object has at least its best anchor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.graph.anchors import encode_boxes
from edgevision.metrics.detection import box_iou

Floats = NDArray[np.float32]

BACKGROUND = 0
IGNORED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """Assigns objects to the anchors of one detector.

    Attributes:
        anchors: (A, 4) float32 from ``lay_out_anchors``: centre y, centre x, height, width.
        box_scales: Of the encoding.
        min_iou: Overlap from which an anchor learns an object.
    """

    anchors: Floats
    box_scales: tuple[float, float, float, float]
    min_iou: float = 0.5
    _corners: Floats = field(init=False)

    def __post_init__(self) -> None:
        # Every image of every step is matched with the same anchors.
        centers, halves = self.anchors[:, :2], self.anchors[:, 2:] / 2
        corners = np.concatenate((centers - halves, centers + halves), axis=1)
        object.__setattr__(self, "_corners", corners)

    def __call__(
        self, boxes: Floats, classes: NDArray[np.int64], ignored: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], Floats]:
        """Match the objects of one image.

        Args:
            boxes: (N, 4) ymin xmin ymax xmax, as shares of the image.
            classes: (N,) from 0.
            ignored: (N,) whether the object is to be neither learned nor taken for background.

        Returns:
            ``(labels, encodings)``: (A,) int32, class + 1, ``BACKGROUND`` or ``IGNORED``; and
            (A, 4) float32 offsets, 0 where there is no object.
        """
        labels = np.full(len(self.anchors), BACKGROUND, np.int32)
        encodings = np.zeros((len(self.anchors), 4), np.float32)
        if ignored.any():
            overlap = box_iou(self._corners, boxes[ignored]).max(axis=1)
            labels[overlap >= self.min_iou] = IGNORED
        learned = np.flatnonzero(~ignored)
        if len(learned):
            chosen = self._assign(box_iou(self._corners, boxes[learned]))
            positive = np.flatnonzero(chosen >= 0)
            objects = learned[chosen[positive]]
            labels[positive] = classes[objects] + 1
            encodings[positive] = encode_boxes(
                boxes[objects], self.anchors[positive], self.box_scales
            )
        return labels, encodings

    def _assign(self, ious: NDArray[Any]) -> NDArray[np.int64]:
        """Return the object of each anchor, (A,), -1 for none; ``ious`` is (A, N)."""
        best = ious.argmax(axis=1)
        chosen = np.where(ious[np.arange(len(ious)), best] >= self.min_iou, best, -1)
        # The object that overlaps its anchor most is written last, so that it wins.
        forced = ious.argmax(axis=0)
        overlaps = ious[forced, np.arange(ious.shape[1])]
        for target in np.argsort(overlaps, kind="stable"):
            if overlaps[target] > 0:
                chosen[forced[target]] = target
        return chosen
