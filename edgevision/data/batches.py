"""Input tensors for many image files, decoded ahead in threads; NumPy only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.ahead import map_ahead
from edgevision.data.images import decode_image
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import DataError, InvalidConfigError
from edgevision.threads import count_cores

OnBroken = Callable[[int, DataError], None]
"""Called as ``on_broken(index, error)`` for a file that can not be decoded; the file is skipped."""


def iterate_batches(
    files: Sequence[Path],
    preprocessor: Preprocessor,
    *,
    batch_size: int = 1,
    threads: int | None = None,
    on_broken: OnBroken | None = None,
) -> Iterator[NDArray[Any]]:
    """Yield the input tensors of files, in order.

    Images are decoded and resized in threads, a few ahead of the consumer, so that memory stays
    bounded. Closing the iterator early ends the threads. Normalizing, which is not thread-safe,
    stays in the consumer's thread.

    Args:
        files: The images.
        preprocessor: Of the model's input.
        batch_size: Images in each array; the last one may hold fewer.
        threads: Decoding threads; ``None`` for one per usable core.
        on_broken: Skip broken files and report them here; ``None`` raises.

    Returns:
        Iterator of new arrays (n, …) in the input's layout and dtype.

    Raises:
        DataError: A file can not be decoded; the error names it.
    """
    _check_count("batch_size", batch_size)
    pixels = iterate_pixels(files, preprocessor, threads=threads, on_broken=on_broken)
    return _join_batches(pixels, preprocessor, batch_size)


def iterate_pixels(
    files: Sequence[Path],
    preprocessor: Preprocessor,
    *,
    threads: int | None = None,
    on_broken: OnBroken | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield ``(index, pixels)`` of files, in order: (height, width, 3) uint8 RGB, resized.

    Takes the same arguments as ``iterate_batches`` and raises the same errors; the index is the
    file's, so that skipped files do not shift it.
    """
    threads = count_cores() if threads is None else threads
    _check_count("threads", threads)
    return _decode_ahead(tuple(files), preprocessor, threads, on_broken)


def load_pixels(
    files: Sequence[Path],
    preprocessor: Preprocessor,
    *,
    threads: int | None = None,
    on_broken: OnBroken | None = None,
) -> NDArray[np.uint8]:
    """Decode and resize all files into one array.

    Takes the same arguments as ``iterate_batches`` and raises the same errors.

    Returns:
        (N, height, width, 3) uint8 RGB, not yet normalized; without the skipped files.
    """
    loaded = np.empty((len(files), *preprocessor.size, 3), np.uint8)
    count = 0
    for _, pixels in iterate_pixels(files, preprocessor, threads=threads, on_broken=on_broken):
        loaded[count] = pixels
        count += 1
    return loaded[:count]


def _decode_ahead(
    files: tuple[Path, ...],
    preprocessor: Preprocessor,
    threads: int,
    on_broken: OnBroken | None,
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    def decode(file: Path) -> NDArray[np.uint8] | DataError:
        try:
            return preprocessor.resize(decode_image(file))
        except DataError as error:
            return error

    # Closed here and not by the garbage collector: the threads end with this iterator.
    with closing(map_ahead(decode, files, threads=threads)) as decoded:
        for index, pixels in enumerate(decoded):
            if not isinstance(pixels, DataError):
                yield index, pixels
            elif on_broken is None:
                raise pixels
            else:
                on_broken(index, pixels)


def _join_batches(
    decoded: Iterator[tuple[int, NDArray[np.uint8]]], preprocessor: Preprocessor, batch_size: int
) -> Iterator[NDArray[Any]]:
    shape = (batch_size, *preprocessor.input.shape[1:])
    count = 0
    batch = np.empty(shape, preprocessor.input.dtype)
    for _, pixels in decoded:
        batch[count] = preprocessor.normalize(pixels)[0]
        count += 1
        if count == batch_size:
            yield batch
            batch, count = np.empty_like(batch), 0
    if count:
        yield batch[:count]


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise InvalidConfigError(f"{name} must be 1 or more", received=f"{name}={value}")
