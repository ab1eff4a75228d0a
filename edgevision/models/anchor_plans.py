"""Where detectors place their anchors, for any input size.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", arXiv:1512.02325, section 2.2, and Lin et al.
2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002, section 4, with the numbers of the
TensorFlow Object Detection API's published configurations. Anchors keep their aspect ratio on
rectangular inputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import ceil, sqrt
from typing import NamedTuple

from edgevision.contract import AnchorGrid

Size = tuple[int, int]

SSD_STRIDES = (16, 32, 64, 128, 256, 512)
SSD_SCALES = tuple(0.2 + 0.15 * number for number in range(len(SSD_STRIDES)))
SSD_RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)

PYRAMID_STRIDES = (8, 16, 32, 64, 128)
PYRAMID_RATIOS = (1.0, 2.0, 1 / 2)
PYRAMID_SCALES = (4.0, 4 * sqrt(2))


class Shape(NamedTuple):
    """An anchor before it meets an image.

    Attributes:
        scale: Side of the square of the same area.
        ratio: Width divided by height.
    """

    scale: float
    ratio: float


def plan_ssd_anchors(input_size: Size) -> tuple[AnchorGrid, ...]:
    """Return the anchors of an SSD of six maps: three on the lowest, six on the others.

    Scales are shares of the image's shorter side and grow from 0.2 to 0.95. Each map but the
    lowest has one more square, at the geometric mean of its own scale and the next.

    >>> [grid.size[0] for grid in plan_ssd_anchors((300, 300))]
    [19, 10, 5, 3, 2, 1]
    """
    lowest = (Shape(0.1, 1.0), Shape(SSD_SCALES[0], 2.0), Shape(SSD_SCALES[0], 1 / 2))
    others = [
        (*(Shape(scale, ratio) for ratio in SSD_RATIOS), Shape(sqrt(scale * following), 1.0))
        for scale, following in pairwise((*SSD_SCALES[1:], 1.0))
    ]
    shorter = min(input_size)
    return tuple(
        _plan_grid(
            input_size, stride, (shape._replace(scale=shape.scale * shorter) for shape in row)
        )
        for stride, row in zip(SSD_STRIDES, (lowest, *others), strict=True)
    )


def plan_pyramid_anchors(input_size: Size) -> tuple[AnchorGrid, ...]:
    """Return the anchors of a feature pyramid: two scales of three shapes on five levels.

    A level's squares are 4 and 4·√2 cells wide.

    >>> [grid.size for grid in plan_pyramid_anchors((320, 256))]
    [(40, 32), (20, 16), (10, 8), (5, 4), (3, 2)]
    """
    return tuple(
        _plan_grid(
            input_size,
            stride,
            (Shape(scale * stride, ratio) for ratio in PYRAMID_RATIOS for scale in PYRAMID_SCALES),
        )
        for stride in PYRAMID_STRIDES
    )


def _plan_grid(input_size: Size, stride: int, shapes: Iterable[Shape]) -> AnchorGrid:
    """Lay shapes, in pixels, over a map; every halving of a side rounds up."""
    height, width = input_size
    return AnchorGrid(
        size=(ceil(height / stride), ceil(width / stride)),
        boxes=tuple(
            (scale / sqrt(ratio) / height, scale * sqrt(ratio) / width) for scale, ratio in shapes
        ),
    )
