"""Calibration images as inputs of the float model: every one is seen, a bounded set is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.contract import Contract
from edgevision.data.batches import iterate_pixels
from edgevision.data.images import list_images, spread_evenly
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import CalibrationError, DataError
from edgevision.graph.graph import Graph
from edgevision.quantization.similarity import hash_pixels
from edgevision.quantization.walk import measure_image_bytes
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]

MAX_KEPT = 128
"""Images on which layers are repaired; more bring nothing that could be measured."""

# The activations of all kept images at one layer: those of both networks, and one trial.
_KEPT_BYTES = 512 * 2**20
_COPIES = 1.75


class CalibrationImages:
    """Images of a folder as float inputs, decoded ahead in threads.

    Args:
        folder: Every image below it is used; or one image file.
        preprocessor: Of the float model's input.
        limit: Use at most this many, evenly spaced.
        skip_broken: Leave out images that can not be decoded, instead of failing.

    Attributes:
        kept: Inputs that stay in memory, (N, *input shape) float32 once iterated over.
        files: The images, in order.
        skip_broken: Whether broken files are left out.
        skipped: Broken files with the reason.
        hashes: (16,) uint8 of every image that was iterated over, from ``hash_pixels``.
        has_contrast: Whether any image, once iterated over, holds more than one colour.

    Raises:
        MissingFileError: There is no such folder.
        DataError: It holds no images.
    """

    def __init__(
        self,
        folder: str | Path,
        preprocessor: Preprocessor,
        *,
        limit: int | None = None,
        skip_broken: bool = False,
    ) -> None:
        files = list_images(folder)
        if not files:
            raise DataError(
                "no images in the calibration folder",
                received=folder,
                remedy="put some typical photos there; about 100 are enough",
            )
        self.files = spread_evenly(files, limit)
        self.skipped: list[tuple[Path, str]] = []
        self.has_contrast = False
        self.hashes: list[Array] = []
        self._preprocessor = preprocessor
        self.skip_broken = skip_broken
        self._kept: list[Array] = []

    @property
    def num_used(self) -> int:
        """Images that were not skipped."""
        return len(self.files) - len(self.skipped)

    def iterate(
        self, graph: Graph, threads: int, progress: Progress | None = None
    ) -> Iterator[Array]:
        """Yield the input tensor of every image; valid until the next one.

        Raises:
            DataError: An image is broken (it is named), or all of them are.
        """
        room = int(_KEPT_BYTES / (_COPIES * max(measure_image_bytes(graph), 1)))
        chosen = set(spread_evenly(range(len(self.files)), max(1, min(MAX_KEPT, room))))
        self.hashes, self.skipped, self._kept = [], [], []  # of an earlier pass
        pixels = iterate_pixels(
            self.files,
            self._preprocessor,
            threads=threads,
            on_broken=self._note_broken if self.skip_broken else None,
        )
        for index, image in pixels:
            self.hashes.append(hash_pixels(image))
            self.has_contrast = self.has_contrast or bool(np.ptp(image, axis=(0, 1)).any())
            batch = self._preprocessor.normalize(image)
            if index in chosen or not self._kept:
                self._kept.append(batch.copy())
            yield batch
            if progress:
                progress("calibrating", index + 1, len(self.files))
        if not self._kept:
            raise DataError("no image can be read", received=self.skipped[0][1])

    def restore(
        self,
        kept: Array,
        hashes: Sequence[Array],
        *,
        skipped: Sequence[tuple[int, str]],
        has_contrast: bool,
    ) -> None:
        """Take over what iterating over the same files gave before.

        Args:
            kept: (N, *input shape) float32.
            hashes: (16,) uint8 of every image.
            skipped: Position in ``files`` of every broken file, with the reason.
            has_contrast: Whether any image holds more than one colour.
        """
        self.skipped = [(self.files[index], reason) for index, reason in skipped]
        self.hashes = list(hashes)
        self.has_contrast = has_contrast
        self._kept = list(kept)

    @property
    def kept(self) -> Array:
        """Return the kept inputs, (N, *input shape) float32."""
        if not self._kept:
            raise CalibrationError("calibration needs at least one image")
        return np.stack(self._kept)

    def _note_broken(self, index: int, error: DataError) -> None:
        self.skipped.append((self.files[index], str(error)))


def open_images(
    contract: Contract,
    graph: Graph,
    folder: str | Path,
    *,
    limit: int | None = None,
    skip_broken: bool = False,
) -> CalibrationImages:
    """Open a calibration folder for a network, prepared as its contract says."""
    preprocessor = Preprocessor(contract.preprocessing, graph.input_specs()[0])
    return CalibrationImages(folder, preprocessor, limit=limit, skip_broken=skip_broken)
