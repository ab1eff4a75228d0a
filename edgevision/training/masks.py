"""Decoded masks of one size, held where there is room for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Preprocessing
from edgevision.data.mask_annotations import IGNORED
from edgevision.data.masks import MaskDataset, resize_mask
from edgevision.errors import DataError
from edgevision.threads import count_cores
from edgevision.training.pixels import MEMORY_LIMIT_BYTES

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class MaskStore:
    """Masks by number, resized as the images are.

    Attributes:
        read: Decodes and resizes one mask to (height, width) uint8.
        threads: Decoding threads.
        count: How many there are.
        cached: (N, height, width) uint8, or ``None``: then every access decodes.
    """

    read: Callable[[int], Mask]
    threads: int
    count: int
    cached: Mask | None = None

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Mask]:
        return (self.fetch(np.array([i]))[0] for i in range(self.count))

    def fetch(self, indices: NDArray[np.int64]) -> Mask:
        """Return the masks with these numbers, (N, height, width)."""
        if self.cached is not None:
            return self.cached[indices]
        with ThreadPoolExecutor(self.threads) as pool:
            return np.stack(list(pool.map(self.read, indices.tolist())))


def load_masks(
    dataset: MaskDataset,
    *,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    ignore_index: int | None,
    threads: int | None,
) -> MaskStore:
    """Decode and resize every mask once, where they fit into memory.

    Args:
        dataset: The masks.
        preprocessing: Its resize rule is followed.
        size: (height, width).
        ignore_index: Value that counts as no class, beside 255.
        threads: Decoding threads; ``None`` means one per usable core.

    Raises:
        DataError: A mask can not be read, or holds a class that there is no label for.
    """
    num_classes = len(dataset.labels)

    def read(index: int) -> Mask:
        mask = resize_mask(dataset.load_mask(index), preprocessing, size)
        if ignore_index is not None:
            mask = np.where(mask == ignore_index, np.uint8(IGNORED), mask)
        known = mask[mask != IGNORED]
        if known.size and int(known.max()) >= num_classes:
            raise DataError(
                "a mask holds a class that has no label",
                received=f"{dataset.files[index]}: class {int(known.max())}, {num_classes} labels",
                remedy="name all classes, or leave the value out with --ignore-index",
            )
        return mask

    store = MaskStore(read, threads or count_cores(), len(dataset))
    if len(dataset) * size[0] * size[1] > MEMORY_LIMIT_BYTES:
        return store
    return MaskStore(read, store.threads, store.count, store.fetch(np.arange(len(dataset))))
