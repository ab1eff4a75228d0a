"""Decoded images of one size, held where there is room for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.contract import Preprocessing
from edgevision.data.images import decode_image
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import DataError, MissingFileError
from edgevision.specs import ColorOrder, TensorSpec
from edgevision.threads import count_cores

MEMORY_LIMIT_BYTES = 1 << 30
# A cache on disk must not be what fills the disk.
_DISK_SHARE = 0.5
_MAX_NAMED = 5


class Place(StrEnum):
    """Where decoded pixels are kept."""

    MEMORY = "memory"
    DISK = "disk"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True, eq=False)
class PixelStore:
    """Images by number, resized as the model's contract says.

    Attributes:
        files: The images.
        resize: Decodes and resizes one file to (height, width, 3) uint8.
        threads: Decoding threads.
        size: (height, width).
        cached: (N, height, width, 3) uint8 in memory or mapped from disk, or ``None``: then every
            access decodes.
    """

    files: Sequence[Path]
    resize: Callable[[Path], NDArray[np.uint8]]
    threads: int
    size: tuple[int, int]
    cached: NDArray[np.uint8] | None = None
    _pool: list[ThreadPoolExecutor] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def fetch(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images with these numbers, (N, height, width, 3)."""
        if self.cached is not None:
            return self.cached[indices]
        if not self._pool:
            self._pool.append(ThreadPoolExecutor(self.threads))
        return np.stack(list(self._pool[0].map(self.resize, (self.files[i] for i in indices))))


def choose_place(num_bytes: int, folder: Path, memory_limit_bytes: int) -> Place:
    """Decide where ``num_bytes`` of pixels are kept."""
    if num_bytes <= memory_limit_bytes:
        return Place.MEMORY
    free = shutil.disk_usage(folder).free
    return Place.DISK if num_bytes <= free * _DISK_SHARE else Place.NOWHERE


def load_pixels(
    files: Sequence[Path],
    *,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    folder: Path,
    threads: int | None = None,
    advance: Callable[[int], None] | None = None,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
) -> PixelStore:
    """Decode and resize every image once.

    Args:
        files: The images.
        preprocessing: Its resize rule is followed; mean and std are applied later.
        size: (height, width).
        folder: Existing folder for a cache on disk, used above ``memory_limit_bytes``.
        threads: Decoding threads; ``None`` means one per usable core.
        advance: Called with 1 after each image.
        memory_limit_bytes: Most bytes of pixels to hold in memory.

    Raises:
        DataError: Some images can not be read; the first ones are named.
    """
    spec = TensorSpec(name="pixels", shape=(1, *size, 3), dtype="uint8")
    preprocessor = Preprocessor(preprocessing, spec)
    threads = threads or count_cores()
    store = PixelStore(files, lambda file: preprocessor.resize(decode_image(file)), threads, size)
    shape = (len(files), *size, 3)
    place = choose_place(prod(shape), folder, memory_limit_bytes)
    if place is Place.NOWHERE:
        return store
    pixels = _allocate(shape, folder if place is Place.DISK else None)
    _fill(pixels, store, advance)
    return PixelStore(files, store.resize, threads, size, pixels)


def _allocate(shape: tuple[int, ...], folder: Path | None) -> NDArray[np.uint8]:
    if folder is None:
        return np.empty(shape, np.uint8)
    path = folder / f".pixels-{os.getpid()}-{id(shape):x}"
    mapped = np.memmap(path, np.uint8, "w+", shape=shape)
    # The mapping keeps the file alive: however the process ends, nothing is left behind.
    path.unlink()
    return mapped


def _fill(
    pixels: NDArray[np.uint8], store: PixelStore, advance: Callable[[int], None] | None
) -> None:
    def read(index: int) -> str:
        try:
            pixels[index] = store.resize(store.files[index])
        except (DataError, MissingFileError) as error:
            return str(error)
        return ""

    faults = []
    with ThreadPoolExecutor(store.threads) as pool:
        for fault in pool.map(read, range(len(store))):
            if fault:
                faults.append(fault)
            if advance:
                advance(1)
    if faults:
        more = f"; and {len(faults) - _MAX_NAMED} more" if len(faults) > _MAX_NAMED else ""
        raise DataError(
            f"{len(faults)} of {len(store)} images can not be read",
            received="; ".join(faults[:_MAX_NAMED]) + more,
            remedy="repair or remove them, or leave them out with --skip-broken",
        )


def normalize(images: Any, preprocessing: Preprocessing) -> Any:
    """Turn a batch of pixels into network input, equal to ``Preprocessor`` on the device.

    Args:
        images: (N, H, W, 3) RGB tensor, 0–255.
        preprocessing: Colour order, mean and std.

    Returns:
        (N, H, W, 3) float32 tensor.
    """
    tf = import_backend("tensorflow")
    images = tf.cast(images, tf.float32)
    if preprocessing.color is ColorOrder.BGR:
        images = images[..., ::-1]
    mean = tf.constant(preprocessing.mean, tf.float32)
    return (images - mean) / tf.constant(preprocessing.std, tf.float32)
