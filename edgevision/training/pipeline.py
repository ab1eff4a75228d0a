"""Batches for training and validation: fetched, augmented and normalized ahead by tf.data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.backends import import_backend
from edgevision.contract import Preprocessing
from edgevision.training.augment import Augmentation, augment_batch
from edgevision.training.pixels import normalize

Pick = Callable[[int], NDArray[np.int64]]
"""From a step to the numbers of its images."""

# Training pixels are kept a little larger than the input, so that crops lose little detail.
MARGIN = 1.15
_PREFETCHED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOrder:
    """Which images each step takes: every epoch in an order of its own, a function of the seed.

    The few images that do not fill the last batch are left out; another epoch takes them.

    Attributes:
        num_images: Number of training images.
        batch_size: Images per step; all images where there are fewer.
        seed: Another seed gives other orders.
    """

    num_images: int
    batch_size: int
    seed: int

    @property
    def batch(self) -> int:
        """Images per step."""
        return min(self.batch_size, self.num_images)

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.num_images // self.batch

    def pick(self, step: int) -> NDArray[np.int64]:
        """Return the images of a step, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.steps)
        order = _shuffle(self.num_images, self.seed, epoch)
        return order[place * self.batch : (place + 1) * self.batch]


@lru_cache(maxsize=2)
def _shuffle(num_images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(num_images)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """How stored pixels become network input.

    Attributes:
        size: (height, width) of the input.
        preprocessing: Colour order, mean and std.
        augmentation: ``None`` for the plain image.
    """

    size: tuple[int, int]
    preprocessing: Preprocessing
    augmentation: Augmentation | None = None

    def __call__(self, images: Any, seed: Any) -> Any:
        """Return (N, height, width, 3) float32 for (N, H, W, 3) uint8 and a (2,) int32 seed."""
        if self.augmentation is not None:
            images = augment_batch(images, size=self.size, how=self.augmentation, seed=seed)
        return normalize(images, self.preprocessing)


def stream_steps(
    span: tuple[int, int],
    *,
    fetch: Callable[[int], tuple[NDArray[Any], ...]],
    shapes: Sequence[tuple[str, tuple[int | None, ...]]],
    prepare: Callable[..., tuple[Any, Any]],
    seed: int,
) -> Any:
    """Return a ``tf.data.Dataset`` of (inputs, targets, seed), one element per step.

    One stream for all epochs: the next one is prepared while the last one is being judged.

    Args:
        span: First step, and the one after the last.
        fetch: Takes a step, returns NumPy arrays.
        shapes: Dtype and shape of each of these arrays.
        prepare: Takes the arrays as tensors and a (2,) int32 seed, returns inputs and targets.
        seed: Of the stream; each step has a seed of its own.
    """
    tf = import_backend("tensorflow")
    dtypes = [getattr(tf, dtype) for dtype, _ in shapes]

    def load(step: Any) -> tuple[Any, Any]:
        arrays = tf.numpy_function(lambda number: fetch(int(number)), [step], dtypes)
        for array, (_, shape) in zip(arrays, shapes, strict=True):
            array.set_shape(shape)
        step_seed = tf.stack((tf.constant(seed % 2**31, tf.int32), tf.cast(step, tf.int32)))
        return tuple(arrays), step_seed

    def finish(arrays: Any, step_seed: Any) -> tuple[Any, Any, Any]:
        return (*prepare(*arrays, step_seed), step_seed)

    steps = tf.data.Dataset.range(*span)
    # The functions hold no Python control flow on tensors: nothing to rewrite.
    plain = tf.autograph.experimental.do_not_convert
    return steps.map(plain(load)).map(plain(finish)).prefetch(_PREFETCHED)


def pick_in_order(num_images: int, batch_size: int) -> tuple[Pick, int]:
    """Return how to take every image once, in order, and the number of steps."""

    def pick(step: int) -> NDArray[np.int64]:
        return np.arange(step * batch_size, min((step + 1) * batch_size, num_images))

    return pick, -(-num_images // batch_size)
