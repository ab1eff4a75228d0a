"""Masks in image files: class indices, palettes, or black and white."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.images import explain_faults, turn_upright
from edgevision.errors import DataError, MissingFileError

if TYPE_CHECKING:
    from PIL import Image

LOSSY_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif"))
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskFile:
    """A file whose pixel values stand for classes.

    Attributes:
        file: The file.
        table: (256,) uint8 class index of each value; 255 is ignored.
        turn: EXIF orientation of the image that is still to be undone.
    """

    file: Path
    table: NDArray[np.uint8]
    turn: int = 1

    def load(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8 class indices of the upright image; 255 is ignored.

        Raises:
            MissingFileError: The file is gone.
            DataError: It is damaged.
        """
        return turn_upright(np.take(self.table, read_mask(self.file)), self.turn)


def read_mask(file: Path) -> NDArray[np.uint8]:
    """Read the values of a mask file as they are stored: palette indices stay what they are.

    Of a lossy (JPEG) mask only black and white are left, as 0 and 255.

    Returns:
        (H, W) uint8.

    Raises:
        MissingFileError: There is no such file.
        DataError: Not an image, damaged, in colour, or with values above 255.
    """
    from PIL import Image

    if not file.is_file():
        raise MissingFileError("there is no such mask", received=file, remedy="check the path")
    with explain_faults(str(file)), Image.open(file) as image:
        values = _read_values(image, file)
    if file.suffix.lower() in LOSSY_SUFFIXES:
        return np.where(values > 127, np.uint8(255), np.uint8(0))
    return values


def _read_values(image: Image.Image, file: Path) -> NDArray[np.uint8]:
    array: NDArray[Any] = np.asarray(image)
    if image.mode in ("1", "L", "P"):
        return array.astype(np.uint8)
    if image.mode in ("LA", "PA"):
        return np.ascontiguousarray(array[:, :, 0])
    if image.mode in ("RGB", "RGBA"):
        if (array[:, :, :1] == array[:, :, :3]).all():
            return np.ascontiguousarray(array[:, :, 0])
        raise DataError(
            "a mask holds class indices, not colours",
            received=file,
            remedy="save it as a gray or palette PNG whose values are class indices",
        )
    if image.mode in _DEEP_MODES and 0 <= array.min() <= array.max() <= 255:
        return array.astype(np.uint8)
    raise DataError(
        "a mask holds values from 0 to 255",
        received=f"{file}: mode {image.mode}, up to {array.max()}",
        remedy="save it as an 8-bit PNG",
    )
