"""The range with the least mean squared error: rounding weighed against clipping.

A narrower range has finer steps and clips more. With steps of size ``s`` a value within the range
is off by ``s²/12`` on average, one within half a step of zero by its own square, and one beyond
the range by the square of its distance to it. All three are sums over the histogram, so that every
bin's edge can be tried as an end.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.quantization.ranges.histogram import Histogram

Array = np.ndarray[Any, Any]

# Ends that are tried on each side, evenly spaced.
_CANDIDATES = 128


def find_mse_range(seen: Histogram, steps: int) -> tuple[float, float]:
    """Return the ends with the least expected squared error; zero lies between them.

    Args:
        seen: Distribution of the values.
        steps: Distances between the integers' ends: 255 for 8 bits.
    """
    lows, highs = list_ends(seen)
    errors = measure_errors(seen, steps, lows=lows, highs=highs)
    low, high = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return float(lows[low]), float(highs[high])


def list_ends(seen: Histogram) -> tuple[Array, Array]:
    """List the ends to try: fractions of the extremes, the extremes first."""
    parts = np.arange(_CANDIDATES, 0, -1) / _CANDIDATES
    lows = parts * seen.low if seen.low < 0 else np.zeros(1)
    highs = parts * seen.high if seen.high > 0 else np.zeros(1)
    return lows, highs


def measure_errors(seen: Histogram, steps: int, *, lows: Array, highs: Array) -> Array:
    """Return the expected sum of squared errors of each pair of ends.

    Args:
        seen: Distribution of the values.
        steps: Distances between the integers' ends.
        lows: (L,) at or below zero.
        highs: (H,) at or above zero; no pair has both ends at zero.

    Returns:
        (L, H) float64.
    """
    size = (highs[None, :] - lows[:, None]) / steps
    near = _sum_near_zero(seen, size / 2)
    clipped_low = _sum_beyond(-seen.centres[::-1], seen.counts[::-1], -lows)
    clipped_high = _sum_beyond(seen.centres, seen.counts, highs)
    errors: Array = near + clipped_low[1][:, None] + clipped_high[1][None, :]
    inside = seen.counts.sum() - clipped_low[0][:, None] - clipped_high[0][None, :]
    near_count = _count_near_zero(seen, size / 2)
    errors += np.maximum(inside - near_count, 0) * np.square(size) / 12
    return errors


def _sum_beyond(centres: Array, counts: Array, ends: Array) -> tuple[Array, Array]:
    """Count what lies above each end, and sum the squares of its distance.

    Args:
        centres: (B,) ascending.
        counts: (B,).
        ends: (E,).
    """
    first = np.searchsorted(centres, ends, side="right")
    sums = [_tail(counts * centres**power)[first] for power in range(3)]
    return sums[0], np.maximum(sums[2] - 2 * ends * sums[1] + np.square(ends) * sums[0], 0)


def _tail(values: Array) -> Array:
    """Return (B + 1,) sums from each place to the end."""
    return np.append(np.cumsum(values[::-1])[::-1], 0.0)


def _sum_near_zero(seen: Histogram, reach: Array) -> Array:
    return _sum_between(seen, seen.counts * np.square(seen.centres), reach)


def _count_near_zero(seen: Histogram, reach: Array) -> Array:
    return _sum_between(seen, seen.counts, reach)


def _sum_between(seen: Histogram, values: Array, reach: Array) -> Array:
    """Sum the values of bins whose centre is no further from zero than ``reach``."""
    sums = np.append(0.0, np.cumsum(values))
    centres = seen.centres
    upper = np.searchsorted(centres, reach, side="right")
    lower = np.searchsorted(centres, -reach, side="left")
    return np.asarray(sums[upper] - sums[lower])
