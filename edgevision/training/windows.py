"""Random views of images with boxes: crops that keep objects, wider views, mirror images.

The sampling of Liu et al. 2016 (arXiv:1512.02325, section 2.2 and 3.6): a crop has a minimum
intersection over union with some object, and keeps the objects whose centre is inside. A view is
a window in shares of the image; the pixels follow in one projective transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Minimum overlaps that a crop is drawn for; 0 asks for an object's centre only.
_MIN_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
_TRIES = 40
# What is smaller than this in the view can not be learned from.
_MIN_SIDE_PX = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxAugmentation:
    """How far training images of a detector may differ from the photographs.

    Attributes:
        max_expand: Largest view, in image sizes; beyond the image is gray.
        expand_share: Share of the images that are seen from further away.
        crop_share: Share of the images that are cropped.
        min_side: Smallest side of a crop, as a share of the image's.
        max_aspect: Largest change of the aspect ratio.
        color: Largest change of brightness, contrast and saturation, as a share.
        flip: Whether half of the images are mirrored left to right.
    """

    max_expand: float = 1.6
    expand_share: float = 0.25
    crop_share: float = 0.6
    min_side: float = 0.4
    max_aspect: float = 1.6
    color: float = 0.25
    flip: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of the image, in shares of it; it may reach beyond.

    Attributes:
        top: 0 for the upper edge of the image.
        left: 0 for its left edge.
        height: 1 for the whole height.
        width: 1 for the whole width.
        mirrored: Whether left and right are exchanged.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0
    mirrored: bool = False


WHOLE = Window()
"""The plain image."""


def draw_window(boxes: Floats, how: BoxAugmentation, rng: np.random.Generator) -> Window:
    """Draw a random view of an image.

    Args:
        boxes: (N, 4) ymin xmin ymax xmax, as shares of the image.
        how: Limits of the changes.
        rng: Source of everything random.
    """
    kind = rng.random()
    top, left, height, width = 0.0, 0.0, 1.0, 1.0
    if kind < how.expand_share:
        height = width = rng.uniform(1.0, how.max_expand)
        top, left = -rng.uniform(0, height - 1), -rng.uniform(0, width - 1)
    elif kind < how.expand_share + how.crop_share:
        top, left, height, width = _draw_crop(boxes, how, rng)
    mirrored = bool(how.flip and rng.random() < 0.5)
    return Window(top=top, left=left, height=height, width=width, mirrored=mirrored)


def move_boxes(
    boxes: Floats, window: Window, size: tuple[int, int]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Express boxes in shares of a view.

    Args:
        boxes: (N, 4) ymin xmin ymax xmax, as shares of the image.
        window: The view.
        size: (height, width) of the view in pixels.

    Returns:
        ``(moved, whole)``: (N, 4) float32 shares of the view, clipped to it; and (N,) bool, whether
        the box's centre is inside and enough of it to learn from. The others have an area of 0,
        or show a part of an object, which is neither object nor background.
    """
    origin = np.array((window.top, window.left), np.float32)
    extent = np.array((window.height, window.width), np.float32)
    moved = (boxes.reshape(-1, 2, 2) - origin) / extent
    centers = moved.mean(axis=1)
    clipped = np.clip(moved, 0, 1)
    sides_px = (clipped[:, 1] - clipped[:, 0]) * np.array(size, np.float32)
    whole = ((centers > 0) & (centers < 1) & (sides_px >= _MIN_SIDE_PX)).all(axis=1)
    corners = clipped.reshape(-1, 4)
    if window.mirrored:
        corners = np.stack(
            (corners[:, 0], 1 - corners[:, 3], corners[:, 2], 1 - corners[:, 1]), axis=1
        )
    return np.ascontiguousarray(corners, np.float32), whole


def make_transform(window: Window, source: tuple[int, int], size: tuple[int, int]) -> Floats:
    """Return the projective transform from the view's pixels to those of the image.

    Args:
        window: The view.
        source: (height, width) of the image's pixels.
        size: (height, width) of the view's pixels.

    Returns:
        (8,) float32, as TensorFlow's ``ImageProjectiveTransformV3`` takes it: ``a0 a1 a2 b0 b1 b2
        0 0`` with ``x_in = a0 x + a1 y + a2`` and ``y_in = b0 x + b1 y + b2``.
    """
    step_y = window.height * source[0] / size[0]
    step_x = window.width * source[1] / size[1]
    first_y = window.top * source[0] + 0.5 * step_y - 0.5
    first_x = window.left * source[1] + 0.5 * step_x - 0.5
    if window.mirrored:
        first_x, step_x = first_x + (size[1] - 1) * step_x, -step_x
    return np.array((step_x, 0, first_x, 0, step_y, first_y, 0, 0), np.float32)


def _draw_crop(
    boxes: Floats, how: BoxAugmentation, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw crops until one has the overlap that was asked for; the whole image otherwise."""
    min_iou = _MIN_IOUS[int(rng.integers(len(_MIN_IOUS)))]
    sides = rng.uniform(how.min_side, 1.0, _TRIES)
    stretch = np.sqrt(np.exp(rng.uniform(-1, 1, _TRIES) * np.log(how.max_aspect)))
    heights, widths = np.minimum(sides / stretch, 1.0), np.minimum(sides * stretch, 1.0)
    tops, lefts = rng.random(_TRIES) * (1 - heights), rng.random(_TRIES) * (1 - widths)
    crops = np.stack((tops, lefts, tops + heights, lefts + widths), axis=1)
    fitting = np.flatnonzero(_accept(crops, boxes, min_iou)) if len(boxes) else np.arange(1)
    if not len(fitting):
        return 0.0, 0.0, 1.0, 1.0
    best = int(fitting[0])
    return float(tops[best]), float(lefts[best]), float(heights[best]), float(widths[best])


def _accept(crops: NDArray[Any], boxes: Floats, min_iou: float) -> NDArray[np.bool_]:
    """Tell which crops hold an object's centre and overlap with some object enough."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centers > crops[:, None, :2]) & (centers < crops[:, None, 2:])
    common = np.minimum(crops[:, None, 2:], boxes[:, 2:]) - np.maximum(
        crops[:, None, :2], boxes[:, :2]
    )
    overlap = np.maximum(common, 0).prod(axis=2)
    areas = (crops[:, 2:] - crops[:, :2]).prod(axis=1)
    union = areas[:, None] + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - overlap
    enough = overlap / np.maximum(union, 1e-9) >= min_iou
    return np.asarray((inside.all(axis=2) & enough).any(axis=1))
