"""Training a segmenter: images and masks vary alike, judged by mean IoU."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.data.mask_annotations import IGNORED
from edgevision.errors import DataError
from edgevision.metrics.segmentation import SegmentationCounts
from edgevision.training.augment import (
    Augmentation,
    draw_transforms,
    transform_images,
    vary_colors,
)
from edgevision.training.dense import DenseJob
from edgevision.training.learner import Batch, Learner
from edgevision.training.mask_losses import balance_pixels, measure_mask_loss
from edgevision.training.masks import MaskStore, load_masks
from edgevision.training.pipeline import MARGIN, pick_in_order, stream_steps
from edgevision.training.pixels import PixelStore, normalize
from edgevision.training.sources import load_stores

Array = NDArray[Any]

_SHAPES = (("uint8", (None, None, None, 3)), ("uint8", (None, None, None)))


class SegmentLearner(Learner):
    """Steps a segmenter; targets are (N, H, W) class indices, 255 for no class.

    Args:
        class_weights: (C,) float32.
        dice_weight: Of the Dice loss beside the cross entropy.
        **base: As for ``Learner``.
    """

    def __init__(self, *, class_weights: Array, dice_weight: float, **base: Any) -> None:
        super().__init__(**base)
        self.class_weights, self.dice_weight = class_weights, dice_weight

    def compute_loss(self, inputs: Any, targets: Any, seed: Any) -> tuple[Any, dict[str, Any]]:
        """Return the loss of a batch and its parts."""
        return self._measure(self.network(inputs, True), targets)

    def judge(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the loss, mean IoU and pixel accuracy, at the resolution of the network."""
        counts = SegmentationCounts(len(self.class_weights))
        total, num_images = 0.0, 0
        for images, masks, _ in batches:
            loss, answers = self._judge_step(images, masks)
            total += float(loss) * len(images)
            num_images += len(images)
            counts.add(answers.numpy(), masks.numpy())
        return {
            "loss": total / num_images,
            "mean_iou": counts.mean_iou,
            "pixel_accuracy": counts.pixel_accuracy,
        }

    def _measure(self, logits: Any, masks: Any) -> tuple[Any, dict[str, Any]]:
        return measure_mask_loss(
            logits, masks, class_weights=self.class_weights, dice_weight=self.dice_weight
        )

    @cached_property
    def _judge_step(self) -> Any:
        tf = import_backend("tensorflow")

        def step(images: Any, masks: Any) -> Any:
            logits = self.network(images, False)
            return self._measure(logits, masks)[0], tf.argmax(logits, -1, tf.int32)

        return tf.function(step, reduce_retracing=True, autograph=False)


class SegmentJob(DenseJob):
    """The part of a run that is a segmenter's."""

    metric = "mean_iou"
    _images: tuple[PixelStore, PixelStore]
    _masks: tuple[MaskStore, MaskStore]

    def load(self, folder: Path, threads: int | None) -> None:
        """Decode all images and masks once."""
        margin = MARGIN if self.config.augment else 1.0
        sizes = ((round(self.size[0] * margin), round(self.size[1] * margin)), self.size)
        parts = (self.data.train, self.data.val)
        preprocessing = self.contract.preprocessing
        train, val = load_stores(
            [(part.files, size) for part, size in zip(parts, sizes, strict=True)],
            preprocessing=preprocessing,
            folder=folder,
            threads=threads,
            report=self.report,
        )
        train_masks, val_masks = (
            load_masks(
                part,
                preprocessing=preprocessing,
                size=size,
                ignore_index=self.config.ignore_index,
                threads=threads,
            )
            for part, size in zip(parts, sizes, strict=True)
        )
        for masks in (train_masks, val_masks):
            if all((mask == IGNORED).all() for mask in masks):
                raise DataError(
                    "a segmenter needs pixels that count, to learn from and to judge by",
                    received=f"{len(masks)} masks of ignored pixels only",
                    remedy="check the masks and --ignore-index",
                )
        self._images, self._masks = (train, val), (train_masks, val_masks)

    def make_learner(self) -> Learner:
        """Return a learner of everything that is not frozen."""
        return SegmentLearner(
            network=self.run_model,
            model=self.model,
            weight_decay=self.config.weight_decay,
            trainable=self.model.trainable_variables,
            class_weights=self._class_weights,
            dice_weight=self.config.dice_weight,
        )

    def stream_train(self, span: tuple[int, int]) -> Any:
        """Stream random views of images and masks."""
        order = self.order

        def fetch(step: int) -> tuple[Array, ...]:
            indices = order.pick(step)
            return self._images[0].fetch(indices), self._masks[0].fetch(indices)

        return stream_steps(
            span, fetch=fetch, shapes=_SHAPES, prepare=self._vary, seed=self.config.seed
        )

    def stream_val(self) -> Any:
        """Stream the validation images in order."""
        pick, steps = pick_in_order(len(self.data.val), self.config.batch_size)

        def fetch(step: int) -> tuple[Array, ...]:
            indices = pick(step)
            return self._images[1].fetch(indices), self._masks[1].fetch(indices)

        def prepare(pixels: Any, masks: Any, _: Any) -> tuple[Any, Any]:
            return self._normalize(pixels), masks

        return stream_steps((0, steps), fetch=fetch, shapes=_SHAPES, prepare=prepare, seed=0)

    @cached_property
    def _augmentation(self) -> Augmentation | None:
        return Augmentation(min_area=0.5, flip=self.config.flip) if self.config.augment else None

    @cached_property
    def _class_weights(self) -> Array:
        if not self.config.class_weights:
            return np.ones(self.num_classes, np.float32)
        return balance_pixels(self._masks[0], self.num_classes)

    def _vary(self, pixels: Any, masks: Any, seed: Any) -> tuple[Any, Any]:
        """Show images and masks through the same random transform; masks are never blended."""
        how = self._augmentation
        if how is None:
            return self._normalize(pixels), masks
        tf = import_backend("tensorflow")
        place, paint = tf.unstack(tf.random.split(seed, 2))
        transforms = draw_transforms(pixels, size=self.size, how=how, seed=place)
        images = tf.cast(transform_images(pixels, transforms, size=self.size), tf.float32)
        views = transform_images(masks[..., None], transforms, size=self.size, nearest=True)
        return self._normalize(vary_colors(images, amount=how.color, seed=paint)), views[..., 0]

    def _normalize(self, pixels: Any) -> Any:
        images = normalize(pixels, self.contract.preprocessing)
        images.set_shape((None, *self.size, 3))
        return images
