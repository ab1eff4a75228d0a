"""The best rule for each tensor, and a trial of the whole: is the integer network better for it?

Half of the images fit the rules, the other half choose: for each tensor the range with the least
squared error on images that no rule has seen. An error at a tensor says little of the answers,
though: some layers do not mind clipped peaks, others live by them. So both networks are made, with
all repairs, from the first half, and answer the second one. The narrower ranges are kept where they
bring the answers closer to the float network's by more than chance, image by image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.quantization.ranges.histogram import Histogram
from edgevision.quantization.ranges.mse import measure_errors

Array = np.ndarray[Any, Any]
Ends = tuple[float, float]

MIN_IMAGES = 8
"""With fewer images to choose by, a gain can not be told from chance."""

# A tensor is narrowed where its error falls to this share; less is not worth a trial.
_SHARE = 0.9
# Standard errors by which the gain must be above zero.
_CERTAINTY = 2.0


def choose_ends(
    held: Mapping[int, Histogram], options: Mapping[int, Sequence[Ends]], steps: int
) -> dict[int, Ends]:
    """Choose for each tensor the ends with the least error.

    Args:
        held: Distribution of each tensor on images that the options do not come from.
        options: Ends to choose from by tensor index.
        steps: Distances between the integers' ends: 255 for 8 bits.

    Returns:
        Ends of the tensors for which others than the extremes are clearly better.
    """
    chosen = {}
    for tensor, proposals in options.items():
        if tensor not in held:
            continue
        seen = held[tensor]
        extremes = (min(seen.low, 0.0), max(seen.high, 0.0))
        errors = {ends: _measure_error(seen, ends, steps) for ends in (extremes, *proposals)}
        best = min(errors, key=errors.__getitem__)
        if errors[best] < _SHARE * errors[extremes]:
            chosen[tensor] = best
    return chosen


def is_better(errors: Array, others: Array) -> bool:
    """Whether the first errors are smaller than the others by more than chance.

    Args:
        errors: (N,) of each image.
        others: (N,) of the same images.

    >>> is_better(np.full(8, 1.0), np.full(8, 1.1))
    True
    >>> is_better(np.array([0.0, 2.0] * 4), np.array([2.0, 0.1] * 4))
    False
    """
    gains = others - errors
    if len(gains) < MIN_IMAGES:
        return False
    spread = gains.std(ddof=1) / np.sqrt(len(gains))
    return bool(gains.mean() > _CERTAINTY * spread)


def measure_image_errors(expected: Sequence[Array], actual: Sequence[Array]) -> Array:
    """Return how far each image's answers are off, each output in its own scale.

    Args:
        expected: (N, …) for each output of the float network.
        actual: The same of the quantized one.

    Returns:
        (N,) float64, 0 where nothing differs.
    """
    total: Array = np.zeros(len(expected[0]))
    for values, answers in zip(expected, actual, strict=True):
        axes = tuple(range(1, values.ndim))
        signal = max(float(np.square(values, dtype=np.float64).mean()), np.finfo(np.float32).tiny)
        difference = np.subtract(values, answers, dtype=np.float64)
        total += np.square(difference).mean(axis=axes) / signal
    return total


def _measure_error(seen: Histogram, ends: Ends, steps: int) -> float:
    low, high = (np.array([end]) for end in ends)
    return float(measure_errors(seen, steps, lows=low, highs=high)[0, 0])
