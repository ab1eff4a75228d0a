"""One colour for each class, the same on every picture."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]

# Chosen by hand for the first classes: far apart in hue, and neither too light nor too dark to be
# seen on any photo.
_FIRST: tuple[Color, ...] = (
    (255, 76, 64),  # red
    (48, 162, 255),  # blue
    (62, 201, 84),  # green
    (255, 176, 32),  # amber
    (186, 104, 255),  # violet
    (0, 200, 200),  # teal
    (255, 105, 180),  # pink
    (170, 205, 40),  # lime
    (255, 128, 48),  # orange
    (120, 134, 255),  # indigo
    (196, 148, 92),  # brown
    (0, 186, 132),  # sea green
)
# Multiples of the golden ratio never come close to each other on the circle of hues.
_GOLDEN_RATIO = 0.618033988749895
_DARK_TEXT_FROM = 0.5
# Dark blue and violet would be lost on a dark photo.
_MIN_LUMA = 0.38


def pick_color(index: int) -> Color:
    """Return the RGB colour of a class, 0 to 255.

    >>> pick_color(0), pick_color(12) != pick_color(13)
    ((255, 76, 64), True)
    """
    if index < len(_FIRST):
        return _FIRST[index]
    lightness = (0.5, 0.62, 0.42)[index % 3]
    color = colorsys.hls_to_rgb(index * _GOLDEN_RATIO % 1, lightness, 0.85)
    luma = _measure_luma(color)
    white = max(0.0, (_MIN_LUMA - luma) / (1 - luma))
    red, green, blue = (round(255 * (value + (1 - value) * white)) for value in color)
    return red, green, blue


def pick_text_color(ground: Color) -> Color:
    """Return black or white, whichever is easier to read on a colour (ITU-R BT.709 luma).

    >>> pick_text_color((255, 255, 0)), pick_text_color((0, 0, 160))
    ((0, 0, 0), (255, 255, 255))
    """
    return (0, 0, 0) if _measure_luma(ground) > 255 * _DARK_TEXT_FROM else (255, 255, 255)


def tabulate_colors(num_colors: int, *, background: bool) -> NDArray[np.uint8]:
    """Return the colours of the classes of a mask, (num_colors, 3).

    Args:
        num_colors: How many.
        background: Whether class 0 is background, which is black; the others then begin with the
            first colour.
    """
    first = [(0, 0, 0)] if background else []
    rest = [pick_color(i) for i in range(num_colors - len(first))]
    return np.array([*first, *rest], np.uint8).reshape(-1, 3)


def _measure_luma(color: tuple[float, float, float]) -> float:
    red, green, blue = color
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
