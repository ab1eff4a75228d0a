"""Objects as outlines and run lengths, and the pixels that they cover.

The formats are COCO's: polygons in pixel coordinates, and run lengths down the columns, plain or
packed into text. No package is needed to read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.images import turn_upright
from edgevision.data.mask_annotations import Region
from edgevision.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Polygons:
    """An object as one or more outlines; what any of them encloses belongs to it.

    Attributes:
        rings: Each (K, 2) float64, x and y of its corners in pixels.
    """

    rings: tuple[NDArray[np.float64], ...]

    def fill(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (H, W) bool: the pixels whose centre lies inside."""
        covered = np.zeros(size, bool)
        for ring in self.rings:
            _fill_ring(ring, covered)
        return covered


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """An object as lengths of runs, outside and inside in turn, down one column after another.

    Attributes:
        counts: The lengths, or the text that they are packed into.
        size: (height, width) of the image.
    """

    counts: tuple[int, ...] | str
    size: tuple[int, int]

    def fill(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (H, W) bool.

        Raises:
            DataError: The runs do not fill an image of this size.
        """
        counts = unpack_counts(self.counts) if isinstance(self.counts, str) else self.counts
        if self.size != size or sum(counts) != size[0] * size[1] or min(counts) < 0:
            raise DataError(
                "run lengths fill the image",
                received=f"{sum(counts)} pixels for {self.size}, the image has {size}",
            )
        inside = np.arange(len(counts)) % 2 == 1
        return np.repeat(inside, counts).reshape(size[1], size[0]).T


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionMask:
    """The mask of an image as regions of classes.

    Attributes:
        source: The annotation file, for error messages.
        size: (height, width) that the regions were annotated in.
        regions: Class index and region, the ones below first; class 255 is ignored.
        rest: Class of all other pixels.
        turn: EXIF orientation of the image that is still to be undone.
    """

    source: str
    size: tuple[int, int]
    regions: tuple[tuple[int, Region], ...]
    rest: int = 0
    turn: int = 1

    def load(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8 class indices of the upright image; 255 is ignored.

        Raises:
            DataError: Run lengths are damaged.
        """
        mask = np.full(self.size, self.rest, np.uint8)
        for label, region in self.regions:
            try:
                mask[region.fill(self.size)] = label
            except DataError as error:
                received = f"{self.source}: {error.received}"
                raise DataError(error.what, received=received) from error
        return turn_upright(mask, self.turn)


def parse_region(segmentation: Any) -> Region | None:
    """Turn COCO's ``segmentation`` into a region; ``None`` where it encloses nothing.

    Raises:
        ValueError: Not numbers in one of its forms.
        TypeError: Likewise.
        KeyError: Run lengths without ``counts`` or ``size``.
    """
    if isinstance(segmentation, dict):
        counts, size = segmentation["counts"], tuple(int(v) for v in segmentation["size"])
        if len(size) != 2:
            raise ValueError("size is height and width")
        packed = counts if isinstance(counts, str) else tuple(int(v) for v in counts)
        return RunLengths(packed, (size[0], size[1]))
    rings = [np.asarray(ring, np.float64) for ring in segmentation]
    if any(ring.ndim != 1 or len(ring) % 2 or not np.isfinite(ring).all() for ring in rings):
        raise ValueError("a polygon is a list of x and y in turn")
    sound = tuple(ring.reshape(-1, 2) for ring in rings if len(ring) >= 6)
    return Polygons(sound) if sound else None


def unpack_counts(text: str) -> list[int]:
    """Unpack COCO's run lengths from text.

    Each character holds five bits, lowest first, and whether more follow; the sign is extended.
    From the third run on the difference to the one before last is stored.

    Raises:
        DataError: The text ends within a number, or holds other characters.

    >>> unpack_counts("522"), unpack_counts("o0")
    ([5, 2, 2], [31])
    """
    counts: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64:
            raise DataError("packed run lengths are characters from 0 to o", received=text[:20])
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise DataError("packed run lengths end within a number", received=text[-20:])
    return counts


def _fill_ring(ring: NDArray[np.float64], covered: NDArray[np.bool_]) -> None:
    """Mark the pixels whose centre an outline encloses, by the even-odd rule."""
    height, width = covered.shape
    x, y = ring.T
    low, high = np.clip(np.ceil([y.min() - 0.5, y.max() - 0.5]), 0, height).astype(int)
    if low == high:
        return
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    centers = np.arange(low, high) + 0.5
    rows, edges = np.nonzero((y <= centers[:, None]) != (next_y <= centers[:, None]))
    share = (centers[rows] - y[edges]) / (next_y[edges] - y[edges])
    crossings = x[edges] + share * (next_x[edges] - x[edges])
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
    places = rows * (width + 1) + columns
    toggles = np.bincount(places, minlength=(high - low) * (width + 1)).reshape(-1, width + 1)
    # A pixel is inside where an odd number of edges lies to its left.
    covered[low:high] |= (toggles.cumsum(axis=1)[:, :width] % 2).astype(bool)
