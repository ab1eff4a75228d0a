"""The decoded images of a classifier's run, as the streams that its phases ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Preprocessing
from edgevision.training.augment import IDENTITY, Augmentation
from edgevision.training.config import TrainingConfig
from edgevision.training.dataset import TrainingData
from edgevision.training.events import EventCallback, Meter, Phase
from edgevision.training.pipeline import (
    MARGIN,
    EpochOrder,
    Pick,
    View,
    pick_in_order,
    stream_steps,
)
from edgevision.training.pixels import PixelStore, load_pixels

# Random views whose features the head learns from, beside the plain one.
_RANDOM_VIEWS = 2
MIN_VAL_BATCH = 32
"""Images per step of validation, at least: no gradients take the room."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageSource:
    """Training and validation images, decoded.

    Attributes:
        config: The options.
        data: Files and targets.
        preprocessing: The model's contract.
        size: (height, width) of the network's input.
        train: Training pixels, a little larger than the input where they are augmented.
        val: Validation pixels, exactly as the device will see them.
    """

    config: TrainingConfig
    data: TrainingData
    preprocessing: Preprocessing
    size: tuple[int, int]
    train: PixelStore
    val: PixelStore

    @property
    def order(self) -> EpochOrder:
        """Which images each training step takes."""
        return EpochOrder(
            num_images=len(self.data.train),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
        )

    @property
    def num_views(self) -> int:
        """Views of each training image that the head learns from."""
        return 1 + (_RANDOM_VIEWS if self.config.augment else 0)

    def stream_train(self, start: int) -> Any:
        """Stream augmented batches from step ``start`` to the last one."""
        span = start, self.order.steps * self.config.epochs
        view = self._view(self._augmentation)
        return self._stream(self.train, self.order.pick, span, view=view, seed=self.config.seed)

    def stream_view(self, number: int) -> Any:
        """Stream one view of all training images in order; the first one is the plain image."""
        pick, steps = pick_in_order(len(self.train), self.config.batch_size)
        plain = IDENTITY if self.config.augment else None
        view = self._view(self._augmentation if number else plain)
        seed = self.config.seed + number
        return self._stream(self.train, pick, (0, steps), view=view, seed=seed)

    def stream_val(self) -> Any:
        """Stream the validation images in order."""
        batch_size = max(self.config.batch_size, MIN_VAL_BATCH)
        pick, steps = pick_in_order(len(self.val), batch_size)
        return self._stream(self.val, pick, (0, steps), view=self._view(None), seed=0)

    def _stream(
        self, store: PixelStore, pick: Pick, span: tuple[int, int], *, view: View, seed: int
    ) -> Any:
        part = self.data.train if store is self.train else self.data.val
        classes = np.asarray(part.targets, np.int32)

        def fetch(step: int) -> tuple[NDArray[Any], ...]:
            indices = pick(step)
            return store.fetch(indices), classes[indices]

        def prepare(pixels: Any, targets: Any, step_seed: Any) -> tuple[Any, Any]:
            images = view(pixels, step_seed)
            images.set_shape((None, *view.size, 3))
            return images, targets

        shapes = (("uint8", (None, None, None, 3)), ("int32", (None,)))
        return stream_steps(span, fetch=fetch, shapes=shapes, prepare=prepare, seed=seed)

    @property
    def _augmentation(self) -> Augmentation | None:
        return Augmentation(flip=self.config.flip) if self.config.augment else None

    def _view(self, augmentation: Augmentation | None) -> View:
        return View(size=self.size, preprocessing=self.preprocessing, augmentation=augmentation)


def load_source(
    config: TrainingConfig,
    data: TrainingData,
    *,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    folder: Path,
    threads: int | None,
    report: EventCallback | None,
) -> ImageSource:
    """Decode all images once.

    Args:
        config: The options.
        data: Files and targets.
        preprocessing: The model's contract.
        size: (height, width) of the network's input.
        folder: Existing folder for a pixel cache that does not fit into memory.
        threads: Decoding threads; ``None`` means one per core.
        report: Receives the events.

    Raises:
        DataError: Some images can not be read.
    """
    margin = MARGIN if config.augment else 1.0
    large = round(size[0] * margin), round(size[1] * margin)
    train, val = load_stores(
        ((data.train.files, large), (data.val.files, size)),
        preprocessing=preprocessing,
        folder=folder,
        threads=threads,
        report=report,
    )
    return ImageSource(
        config=config, data=data, preprocessing=preprocessing, size=size, train=train, val=val
    )


def load_stores(
    parts: Sequence[tuple[Sequence[Path], tuple[int, int]]],
    *,
    preprocessing: Preprocessing,
    folder: Path,
    threads: int | None,
    report: EventCallback | None,
) -> list[PixelStore]:
    """Decode several sets of files, each to a size of its own, and report it as one phase.

    Args:
        parts: Files, and (height, width) of their pixels.
        preprocessing: The model's contract.
        folder: Existing folder for a pixel cache that does not fit into memory.
        threads: Decoding threads; ``None`` means one per core.
        report: Receives the events.

    Raises:
        DataError: Some images can not be read.
    """
    steps = sum(len(files) for files, _ in parts)
    meter = Meter(report, phase=Phase.LOAD, epoch=1, epochs=1, steps=steps)
    stores = [
        load_pixels(
            files,
            preprocessing=preprocessing,
            size=size,
            folder=folder,
            threads=threads,
            advance=meter.advance,
        )
        for files, size in parts
    ]
    meter.finish({})
    return stores
