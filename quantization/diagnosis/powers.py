"""Signal and noise of two versions of one tensor, channel by channel, in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Powers:
    """Means over everything but the channels (the last axis).

    Attributes:
        signal: (C,) float64, mean square of the expected values.
        noise: (C,) float64, mean square of the differences.
        shift: (C,) float64, mean of the differences.
    """

    signal: Array
    noise: Array
    shift: Array

    @property
    def sqnr_db(self) -> float | None:
        """Signal-to-noise ratio of the whole; ``None`` without signal or noise."""
        signal, noise = float(self.signal.mean()), float(self.noise.mean())
        if signal <= 0 or noise <= 0:
            return None
        return round(10 * math.log10(signal / noise), 2)

    @property
    def channel_sqnr_db(self) -> float | None:
        """Median over the channels; those always zero, or equal to the last bit, do not count."""
        used = (self.signal > 0) & (self.noise > 0)
        if not used.any():
            return None
        return round(float(np.median(10 * np.log10(self.signal[used] / self.noise[used]))), 2)

    @property
    def shift_share(self) -> float:
        """Share of the noise that is a constant in each channel, 0 to 1."""
        noise = float(self.noise.mean())
        return float(np.square(self.shift).mean()) / noise if noise > 0 else 0.0


def measure_powers(expected: Array, actual: Array) -> Powers:
    """Compare two versions of a tensor.

    Args:
        expected: (N, …, C) float32.
        actual: The same shape.

    >>> measure_powers(np.array([[10.0], [-10.0]]), np.array([[9.0], [-9.0]])).sqnr_db
    20.0
    """
    channels = expected.shape[-1] if expected.ndim > 1 else 1
    sums = np.zeros((3, channels))
    for one, other in zip(expected, actual, strict=True):  # small temporaries
        before = one.reshape(-1, channels)
        error = other.reshape(-1, channels) - before
        sums[0] += np.einsum("nc,nc->c", before, before)
        sums[1] += np.einsum("nc,nc->c", error, error)
        sums[2] += error.sum(axis=0)
    signal, noise, shift = sums / max(expected.size // max(channels, 1), 1)
    return Powers(signal=signal, noise=noise, shift=shift)
