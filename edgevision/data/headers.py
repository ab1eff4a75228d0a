"""Size and orientation of image files, from their headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.images import explain_faults, read_orientation
from edgevision.errors import DataError, MissingFileError
from edgevision.threads import count_cores

if TYPE_CHECKING:
    from PIL import Image

# Handing single headers from thread to thread would take longer than reading them.
_CHUNK = 64
_TURNED = (5, 6, 7, 8)
# Chunks of a PNG that may say how it is turned; they may stand behind the pixels.
_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"com.adobe.xmp")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says before its pixels.

    Attributes:
        size: (height, width) as stored, pixels.
        orientation: EXIF orientation, 1–8; 1 is upright.
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of what ``decode_image`` returns."""
        return self.size[::-1] if self.orientation in _TURNED else self.size

    def find_turn(self, annotated_size: tuple[int, int] | None) -> int:
        """Tell the orientation that annotations of this size still need undone.

        Most tools show a photo upright, and annotate what they show. Only where the size that
        they noted is the stored one and not the upright one were they made on the stored pixels.

        Returns:
            An EXIF orientation; 1 where the annotations fit the upright image.
        """
        stored_only = annotated_size == self.size != self.upright_size
        return self.orientation if stored_only else 1


def read_header(file: Path) -> ImageHeader:
    """Read size and orientation; the pixels are not decoded.

    Raises:
        MissingFileError: There is no such file.
        DataError: Not an image, or its header is damaged.
    """
    from PIL import Image

    if not file.is_file():
        raise MissingFileError("there is no such image", received=file, remedy="check the path")
    with explain_faults(str(file)), Image.open(file) as image:
        orientation = _find_orientation(image, file)
        size = image.height, image.width
        # A TIFF's orientation is applied by Pillow itself, and its size tells the result.
        turned = image.format == "TIFF" and orientation in _TURNED
        return ImageHeader(size[::-1] if turned else size, orientation)


def read_headers(files: Sequence[Path]) -> Iterator[ImageHeader | DataError | MissingFileError]:
    """Yield the header of every file in order, or the error that tells why there is none."""
    chunks = (files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK))
    with ThreadPoolExecutor(count_cores()) as pool:
        for headers in pool.map(_read_chunk, chunks):
            yield from headers


def _read_chunk(files: Sequence[Path]) -> list[ImageHeader | DataError | MissingFileError]:
    headers: list[ImageHeader | DataError | MissingFileError] = []
    for file in files:
        try:
            headers.append(read_header(file))
        except (DataError, MissingFileError) as error:
            headers.append(error)
    return headers


def turn_boxes(
    boxes: NDArray[np.float64], size: tuple[int, int], orientation: int
) -> NDArray[np.float64]:
    """Move boxes from the stored pixels to the upright image, as ``turn_upright`` moves pixels.

    Args:
        boxes: (N, 4), ymin xmin ymax xmax, pixels of the stored image.
        size: (height, width) as stored.
        orientation: EXIF orientation.

    Returns:
        (N, 4), ymin xmin ymax xmax, pixels of the upright image.

    >>> turn_boxes(np.array([[0.0, 1.0, 2.0, 4.0]]), (10, 20), 6).tolist()
    [[1.0, 8.0, 4.0, 10.0]]
    """
    top, left, bottom, right = boxes.T
    height, width = size
    if orientation in _TURNED:
        top, left, bottom, right = left, top, right, bottom
        height, width = width, height
    if orientation in (3, 4, 7, 8):
        top, bottom = height - bottom, height - top
    if orientation in (2, 3, 6, 7):
        left, right = width - right, width - left
    turned: NDArray[Any] = np.stack([top, left, bottom, right], axis=1)
    return turned


def _find_orientation(image: Image.Image, file: Path) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow decodes a whole PNG before it says that there is no such tag.
        data = file.read_bytes()
        if not any(mark in data for mark in _PNG_MARKS):
            return 1
    orientation = read_orientation(image)
    return orientation if 1 <= orientation <= 8 else 1
