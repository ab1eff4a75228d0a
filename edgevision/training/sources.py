"""The decoded images of a run, as the streams that its phases ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.contract import Preprocessing
from edgevision.training.augment import IDENTITY, Augmentation
from edgevision.training.config import TrainingConfig
from edgevision.training.dataset import TrainingData
from edgevision.training.events import EventCallback, Meter, Phase
from edgevision.training.pipeline import MARGIN, EpochOrder, View, stream_in_order, stream_train
from edgevision.training.pixels import PixelStore, load_pixels

# Random views whose features the head learns from, beside the plain one.
_RANDOM_VIEWS = 2
_MIN_VAL_BATCH = 32


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
        return stream_train(
            self.train,
            self.data.train.targets,
            order=self.order,
            view=self._view(self._augmentation),
            start=start,
            stop=self.order.steps * self.config.epochs,
        )

    def stream_view(self, number: int) -> Any:
        """Stream one view of all training images in order; the first one is the plain image."""
        plain = IDENTITY if self.config.augment else None
        return stream_in_order(
            self.train,
            self.data.train.targets,
            batch_size=self.config.batch_size,
            view=self._view(self._augmentation if number else plain),
            seed=self.config.seed + number,
        )

    def stream_val(self) -> Any:
        """Stream the validation images in order."""
        return stream_in_order(
            self.val,
            self.data.val.targets,
            batch_size=max(self.config.batch_size, _MIN_VAL_BATCH),
            view=self._view(None),
        )

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
    steps = len(data.train) + len(data.val)
    meter = Meter(report, phase=Phase.LOAD, epoch=1, epochs=1, steps=steps)
    train, val = (
        load_pixels(
            part.files,
            preprocessing=preprocessing,
            size=part_size,
            folder=folder,
            threads=threads,
            advance=meter.advance,
        )
        for part, part_size in ((data.train, large), (data.val, size))
    )
    meter.finish({})
    return ImageSource(
        config=config, data=data, preprocessing=preprocessing, size=size, train=train, val=val
    )
