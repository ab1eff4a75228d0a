"""A range that leaves out the rarest values on both sides."""

from __future__ import annotations

import numpy as np

from edgevision.quantization.ranges.histogram import Histogram

SHARE = 1e-4
"""Share of all values that is clipped, both sides together: the 99.99th percentile."""


def find_percentile_range(
    seen: Histogram, steps: int, *, share: float = SHARE
) -> tuple[float, float]:
    """Leave out the largest and the smallest values, half of the share on each side.

    A side that ends at zero, as behind ReLU, stays, and the other one gives up the whole share.

    Args:
        seen: Distribution of the values.
        steps: Of the integers; they do not matter here.
        share: Of the values that are clipped.

    Returns:
        Lower and upper end.

    >>> import numpy as np
    >>> seen = Histogram(low=0.0, high=10.0, counts=np.array([900.0, 99, 0, 0, 1]))
    >>> find_percentile_range(seen, 255, share=0.01)
    (0.0, 4.0)
    """
    total = seen.counts.sum() + seen.num_zeros
    sides = (seen.low < 0) + (seen.high > 0)
    allowed = share * total / max(sides, 1)
    edges = seen.edges
    low, high = seen.low, seen.high
    if seen.low < 0:
        kept = np.cumsum(seen.counts) > allowed
        low = float(edges[int(np.argmax(kept))]) if kept.any() else seen.low
    if seen.high > 0:
        kept = np.cumsum(seen.counts[::-1]) > allowed
        high = float(edges[len(edges) - 1 - int(np.argmax(kept))]) if kept.any() else seen.high
    return min(low, 0.0), max(high, 0.0)
