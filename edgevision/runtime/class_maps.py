"""From the scores of a segmenter to one class per pixel of the original image.

Scores are interpolated bilinearly to the original size, and every pixel takes the best class. Where
the four scores around a pixel agree on the best class, it is the best of any mixture of them too:
so only pixels at borders between classes are interpolated, and only for classes that are best
somewhere. That is many times faster than enlarging all scores, with smooth borders all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.preprocess import Geometry

Array = NDArray[Any]

# So many border pixels at a time: what they need fits into the cache.
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the pixels of one axis of the original image lie on the map of a model.

    Attributes:
        low: For each pixel the cell of the map before it, (N,).
        weight: Share of the cell after that one, (N,) float32 in [0, 1].
        seen: First pixel that the model saw, and the one behind the last.
    """

    low: NDArray[np.intp]
    weight: NDArray[np.float32]
    seen: tuple[int, int]

    @property
    def nearest(self) -> NDArray[np.intp]:
        """The closest cell of each pixel, (N,)."""
        closest: NDArray[np.intp] = self.low + (self.weight >= 0.5)
        return closest


def lay_out_axes(
    geometry: Geometry, input_size: tuple[int, int], map_size: tuple[int, int]
) -> tuple[Axis, Axis]:
    """Find the place of every row and column of the original image on the map.

    Args:
        geometry: From the original image to the model's input.
        input_size: (height, width) of the input.
        map_size: (height, width) of the map, which covers the input whole.
    """
    rows, columns = (
        _lay_out_axis(
            geometry.image_size[i],
            scale=geometry.scale[i],
            offset=geometry.offset[i],
            input_length=input_size[i],
            map_length=map_size[i],
        )
        for i in (0, 1)
    )
    return rows, columns


def choose_classes(scores: Array, axes: tuple[Axis, Axis]) -> Array:
    """Return the best class of every pixel of the original image.

    Args:
        scores: (h, w, C), higher is better; int8 scores need no dequantizing.
        axes: Of the rows and columns, from ``lay_out_axes``.

    Returns:
        (H, W) of the smallest unsigned type that fits; equal scores count for the first class.
    """
    best: Array = scores.argmax(axis=-1).astype(_choose_dtype(scores.shape[-1]))
    if _is_identity(axes, best.shape):
        return best
    rows, columns = axes
    enlarged = spread_map(best, rows.low, columns.low)
    pixels = np.flatnonzero(spread_map(_find_borders(best), rows.low, columns.low))
    planes = {int(c): scores[..., c].astype(np.float32).reshape(-1) for c in np.unique(best)}
    flat = enlarged.reshape(-1)
    for start in range(0, len(pixels), _CHUNK):
        chunk = pixels[start : start + _CHUNK]
        flat[chunk] = _interpolate(planes, chunk, axes, best.shape)
    return enlarged


def spread_map(values: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """Look up a map for each row and column: (len(rows), len(columns)), contiguous.

    Columns come first, on the few rows of the map: what is left is copying whole rows.
    """
    spread: Array = values[:, columns][rows]
    return spread


def blank_unseen(mask: Array, axes: tuple[Axis, Axis]) -> Array:
    """Write the largest number into the pixels of a mask that the model did not see, in place."""
    blank = np.iinfo(mask.dtype).max
    for axis, view in zip(axes, (mask, mask.T), strict=True):
        first, behind = axis.seen
        view[:first] = blank
        view[behind:] = blank
    return mask


def _choose_dtype(num_classes: int) -> type[np.unsignedinteger[Any]]:
    """Leave the largest number free: it marks what the model did not see."""
    return np.uint8 if num_classes <= np.iinfo(np.uint8).max else np.uint16


def _lay_out_axis(
    length: int, *, scale: float, offset: float, input_length: int, map_length: int
) -> Axis:
    ratio = map_length / input_length
    position = ((np.arange(length) + 0.5) / scale + offset) * ratio - 0.5
    seen = np.flatnonzero((position >= -0.5) & (position <= map_length - 0.5))
    clipped = np.clip(position, 0, map_length - 1)
    low = np.minimum(clipped.astype(np.intp), max(map_length - 2, 0))
    return Axis(
        low=low,
        weight=(clipped - low).astype(np.float32),
        seen=(int(seen[0]), int(seen[-1]) + 1) if len(seen) else (length, length),
    )


def _is_identity(axes: tuple[Axis, Axis], size: tuple[int, ...]) -> bool:
    """Whether the map has the size of the original image, and covers it as it is."""
    return all(
        len(axis.low) == length
        and np.array_equal(axis.nearest, np.arange(length))
        and not (axis.weight * (1 - axis.weight)).any()
        for axis, length in zip(axes, size, strict=True)
    )


def _find_borders(best: Array) -> NDArray[np.bool_]:
    """Tell for each cell whether it, or one of its three neighbours behind it, differs."""
    border = np.zeros(best.shape, np.bool_)
    border[:-1] |= best[:-1] != best[1:]
    border[:, :-1] |= best[:, :-1] != best[:, 1:]
    border[:-1, :-1] |= best[:-1, :-1] != best[1:, 1:]
    return border


def _interpolate(
    planes: dict[int, NDArray[np.float32]],
    pixels: NDArray[np.intp],
    axes: tuple[Axis, Axis],
    map_size: tuple[int, ...],
) -> NDArray[np.intp]:
    """Return the best class of some pixels from the four scores around each."""
    rows, columns = axes
    y, x = np.divmod(pixels, len(columns.low))
    step_y = map_size[1] if map_size[0] > 1 else 0
    step_x = 1 if map_size[1] > 1 else 0
    corner = rows.low[y] * map_size[1] + columns.low[x]
    fy, fx = rows.weight[y], columns.weight[x]
    best = np.full(len(pixels), -np.inf, np.float32)
    chosen = np.zeros(len(pixels), np.intp)
    for index, plane in planes.items():
        upper = plane[corner] * (1 - fx) + plane[corner + step_x] * fx
        below = corner + step_y
        lower = plane[below] * (1 - fx) + plane[below + step_x] * fx
        score = upper * (1 - fy) + lower * fy
        better = score > best
        chosen[better] = index
        np.maximum(best, score, out=best)
    return chosen
