"""Image files, whatever their kind, as one thing: uint8 RGB pixels."""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgevision.errors import DataError, EdgeVisionError, MissingFileError

if TYPE_CHECKING:
    from PIL import Image

    ImageSource = (
        str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[Any]
    )

Item = TypeVar("Item")

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
"""File name endings, in lower case, that ``list_images`` takes for images."""

# What Pillow's decoders raise on damaged files; they were never written to agree on one class.
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(RuntimeError, EOFError, MemoryError, struct.error, zlib.error),
)
_ORIENTATION_TAG = 0x0112
_DEEP_GRAY_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode_image(source: ImageSource) -> NDArray[np.uint8]:
    """Decode one image to RGB pixels.

    EXIF orientation is applied. Grayscale, palette and CMYK become RGB; 16-bit samples keep
    their upper 8 bits; of an animation the first frame is taken. Transparency is dropped, not
    blended: the colour stored below it is what training pipelines see too.

    Args:
        source: A path, the bytes of a file, a PIL image, or an array: uint8, uint16 or bool, of
            shape (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA. Float arrays are refused,
            since nothing tells whether they hold 0–1 or 0–255.

    Returns:
        (H, W, 3) uint8, RGB, contiguous. An array that already is exactly this comes
        back without a copy.

    Raises:
        MissingFileError: The path does not exist.
        DataError: Not an image, damaged, cut off, or larger than Pillow's limit against
            decompression bombs.

    >>> decode_image(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 3)
    """
    if isinstance(source, np.ndarray):
        return _decode_array(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode_bytes(bytes(source), "image from memory")
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return _decode_bytes(_read_bytes(path), str(path))
    if hasattr(source, "getexif"):
        return _decode_pillow(source, "PIL image")
    raise DataError(
        "an image is a path, bytes, a PIL image or an array",
        received=f"type={type(source).__name__}",
    )


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """List every image below a folder, sorted; hidden files and folders are left out.

    Files are chosen by their suffix (``SUFFIXES``, upper or lower case), not opened. Symbolic
    links are followed, each folder once.

    Args:
        folder: Where to look, at any depth.

    Raises:
        MissingFileError: The folder does not exist.
        DataError: It is a file, can not be read, or holds no image.
    """
    root = Path(folder)
    if not root.exists():
        raise MissingFileError("there is no such folder", received=root, remedy="check the path")
    if not root.is_dir():
        raise DataError("a folder of images is needed", received=root, remedy="name its folder")
    images, others = scan_images(root)
    if not images:
        common = (f"{count} of {suffix}" for suffix, count in others.most_common(3))
        raise DataError(
            "no images in this folder or below it",
            received=f"{root} holds {', '.join(common) or 'nothing'}",
            remedy="put .jpg or .png files there",
        )
    return images


def expand_images(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Turn a mixture of files and folders into files, in the order given.

    Args:
        sources: Image files, taken as they are, and folders, searched by ``list_images``.

    Raises:
        MissingFileError: One of them does not exist.
        DataError: A folder holds no image.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if not source.exists():
            raise MissingFileError(
                "there is no such image", received=source, remedy="check the path"
            )
        found += list_images(source) if source.is_dir() else [source]
    return found


def spread_evenly(items: Sequence[Item], count: int | None) -> list[Item]:
    """Choose items evenly from a sequence, so that sorted classes are all met.

    Args:
        items: Files, for example.
        count: How many; ``None`` or more than there are takes them all.

    >>> spread_evenly("abcdef", 3)
    ['a', 'c', 'e']
    """
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def scan_images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Walk through a folder as ``list_images`` does, which may hold no image at all.

    Returns:
        The images, sorted, and how many other files there are of each suffix.
    """
    images = []
    others: Counter[str] = Counter()
    for file in _walk_files(folder):
        suffix = file.suffix.lower()
        if suffix in SUFFIXES:
            images.append(file)
        else:
            others[suffix or "no suffix"] += 1
    return sorted(images), others


def _walk_files(root: Path) -> Iterator[Path]:
    """Yield all files below ``root`` that are not hidden; link loops end by themselves."""
    visited = set()
    for place, folders, files in os.walk(root, followlinks=True, onerror=_refuse_folder):
        state = Path(place).stat()
        if (state.st_dev, state.st_ino) in visited:
            folders.clear()
            continue
        visited.add((state.st_dev, state.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(place, f) for f in files if not f.startswith("."))


def _refuse_folder(error: OSError) -> None:
    raise DataError(
        "a folder can not be read", received=f"{error.filename}: {error.strerror}"
    ) from error


def _read_bytes(path: Path) -> bytes:
    if not path.exists():
        raise MissingFileError("there is no such image", received=path, remedy="check the path")
    if path.is_dir():
        raise DataError("a folder is not an image", received=path, remedy="name a file in it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            "the image can not be read", received=f"{path}: {error.strerror or error}"
        ) from error


def _decode_bytes(data: bytes, name: str) -> NDArray[np.uint8]:
    from PIL import Image

    if not data:
        raise DataError("the image file is empty", received=name, remedy="remove or replace it")
    with explain_faults(name), Image.open(BytesIO(data)) as image:
        return _decode_pillow(image, name)


@contextmanager
def explain_faults(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises inside into a ``DataError`` that names the image."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except EdgeVisionError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            "the image has too many pixels", received=f"{name}: {error}", remedy="scale it down"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            "not an image, or of an unknown format", received=name, remedy="remove or replace it"
        ) from error
    except _DECODER_ERRORS as error:
        raise _broken(name, error) from error


def _broken(name: str, error: BaseException) -> DataError:
    cause = str(error) or type(error).__name__
    return DataError(
        "the image is damaged", received=f"{name}: {cause}", remedy="remove or replace it"
    )


def _decode_pillow(image: Image.Image, name: str) -> NDArray[np.uint8]:
    try:
        # Before the orientation is asked for: TIFF applies its own while loading.
        image.load()
        if image.mode in _DEEP_GRAY_MODES or image.mode == "F":
            pixels = _decode_deep_gray(np.asarray(image), name)
        else:
            pixels = np.array(image.convert("RGB"))
        return turn_upright(pixels, read_orientation(image))
    except EdgeVisionError:
        raise
    except _DECODER_ERRORS as error:
        raise _broken(name, error) from error


def _decode_deep_gray(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
        raise DataError(
            "gray values must be 8-bit or 16-bit",
            received=f"{name}: {values.dtype} from {values.min()} to {values.max()}",
            remedy="save it as an 8-bit or 16-bit image",
        )
    return _repeat_gray((values >> 8).astype(np.uint8))


def _repeat_gray(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(gray[:, :, None], 3, axis=2)


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1–8; damaged EXIF data counts as upright."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:
        return 1


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo an EXIF orientation (CIPA DC-008, tag 0x0112) of (H, W) or (H, W, C) pixels."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _decode_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise DataError(
            "an image array has the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            received=_describe_array(array),
            remedy="pass one image at a time, channels last",
        )
    if 0 in array.shape:
        raise DataError("an image has at least one pixel", received=_describe_array(array))
    pixels = _to_uint8(array)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return _repeat_gray(pixels.reshape(pixels.shape[:2]))
    return np.ascontiguousarray(pixels[:, :, :3])


def _describe_array(array: NDArray[Any]) -> str:
    return f"shape={array.shape} dtype={array.dtype}"


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    raise DataError(
        "image arrays are uint8, 0 to 255",
        received=_describe_array(array),
        remedy="scale to 0..255 and convert with .astype('uint8')",
    )
