"""Masks blended into images: every class tinted, with an outline."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.errors import DataError
from edgevision.runtime.palette import tabulate_colors
from edgevision.runtime.results import Segmentation

Pixels = NDArray[np.uint8]

_TINT = 0.45
_HALO = 0.55
_UNSEEN = 0.65


def blend_mask(image: Pixels, answer: Segmentation, *, background: bool) -> Pixels:
    """Return the image with the classes of a mask tinted and outlined in their colours.

    Outlines lie inside of their class, with a dark line around where it borders on background.
    What the model did not see is darkened.

    Args:
        image: (H, W, 3) uint8.
        answer: Its mask.
        background: Whether class 0 is background, which stays as it is.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: The mask has another size.
    """
    mask = answer.mask
    if mask.shape != image.shape[:2]:
        raise DataError(
            "a mask has the size of its image", received=f"{mask.shape} and {image.shape[:2]}"
        )
    colors = tabulate_colors(answer.unseen + 1, background=background)
    unseen = mask == answer.unseen
    painted = ~unseen & (mask > 0) if background else ~unseen
    line_px = max(1, round(min(mask.shape) / 280))
    border = _find_bands(mask, line_px)
    # How much of the colour, or of black, each pixel takes.
    strength = np.where(painted, np.where(border, 1.0, _TINT), 0.0).astype(np.float32)
    shade = np.where(unseen, _UNSEEN, np.where(border & ~painted, _HALO, 0.0)).astype(np.float32)
    blended = image * (1 - strength - shade)[..., None] + colors[mask] * strength[..., None]
    pixels: Pixels = np.rint(blended).astype(np.uint8)
    return pixels


def _find_bands(mask: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Find the pixels with another class within ``width`` pixels, up, down, left or right."""
    band = np.zeros(mask.shape, np.bool_)
    for axis in (0, 1):
        along, found = np.moveaxis(mask, axis, 0), np.moveaxis(band, axis, 0)
        for step in range(1, min(width, len(along) - 1) + 1):
            differs = along[step:] != along[:-step]
            found[step:] |= differs
            found[:-step] |= differs
    return band
