"""The range that keeps most of a distribution's information: least Kullback-Leibler divergence.

After S. Migacz, 8-bit Inference with TensorRT (GTC 2017): for each width that is tried, the
distribution with its clipped values put on the ends is compared with what its integer codes still
tell of it. Both ends move together here, each in proportion, so that zero keeps its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.quantization.ranges.histogram import Histogram

Array = np.ndarray[Any, Any]

# Widths that are tried, evenly spaced from as many bins as there are codes to all of them.
_CANDIDATES = 64


def find_entropy_range(seen: Histogram, steps: int) -> tuple[float, float]:
    """Return the ends of least divergence; zero lies between them.

    Args:
        seen: Distribution of the values.
        steps: Distances between the integers' ends. With more codes than bins nothing is lost by
            the full range, which is then returned.
    """
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    bins = len(seen.counts)
    if steps + 1 >= bins or seen.counts.sum() <= 0:
        return low, high
    # From the full width down: of equal divergences the widest range is taken.
    widths = np.linspace(1.0, (steps + 1) / bins, _CANDIDATES)
    divergences = [_measure_divergence(seen, steps + 1, (low * w, high * w)) for w in widths]
    best = float(widths[int(np.argmin(divergences))])
    return low * best, high * best


def _measure_divergence(seen: Histogram, codes: int, ends: tuple[float, float]) -> float:
    """Return the divergence of what the codes tell from the clipped distribution, in nats."""
    centres = seen.centres
    inside = (centres >= ends[0]) & (centres <= ends[1])
    kept = seen.counts[inside]
    if kept.sum() <= 0:
        return np.inf
    clipped = kept.copy()
    clipped[0] += seen.counts[centres < ends[0]].sum()
    clipped[-1] += seen.counts[centres > ends[1]].sum()
    return _diverge(clipped, _spread_codes(kept, centres[inside], codes, ends))


def _spread_codes(kept: Array, centres: Array, codes: int, ends: tuple[float, float]) -> Array:
    """Merge the bins of each code, and spread what they hold evenly over those not empty."""
    step = (ends[1] - ends[0]) / codes
    places = np.clip(((centres - ends[0]) / step).astype(np.int64), 0, codes - 1)
    filled = kept > 0
    sums = np.bincount(places, weights=kept, minlength=codes)
    numbers = np.bincount(places, weights=filled, minlength=codes)
    return np.asarray(np.where(filled, (sums / np.maximum(numbers, 1))[places], 0.0))


def _diverge(first: Array, second: Array) -> float:
    """Return the Kullback-Leibler divergence of two unnormalized distributions.

    Where the second one says never, it is taken as one in a million: infinite figures do not
    compare.
    """
    p = first / first.sum()
    q = np.maximum(second / second.sum(), 1e-6)
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))
