"""How the values of every activation are distributed, in memory that does not grow with images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph
from edgevision.quantization.observe import choose_count, list_activations, open_observers

Array = np.ndarray[Any, Any]

BINS = 2048
"""Bins of a histogram: eight for each of the 256 codes."""

# Of a large tensor, as many values of each image as tell its distribution.
_VALUES_PER_IMAGE = 8192
# Below this many images a second interpreter costs more than it saves.
_IMAGES_PER_THREAD = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """How often the values of one tensor lie in equal bins between its extremes.

    Attributes:
        low: Lower edge of the first bin.
        high: Upper edge of the last bin.
        counts: (B,) float64, values in each bin, without those that are exactly zero: every
            integer range stores zero without an error.
        num_zeros: Values that are exactly zero.
    """

    low: float
    high: float
    counts: Array
    num_zeros: int = 0

    @property
    def edges(self) -> Array:
        """Return (B + 1,) float64, the edges of the bins."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)

    @property
    def centres(self) -> Array:
        """Return (B,) float64, the middle of each bin."""
        edges: Array = self.edges
        return (edges[:-1] + edges[1:]) / 2


def count_values(values: Array, low: float, high: float, *, bins: int = BINS) -> Histogram:
    """Count values of any shape in equal bins; those beyond the extremes fall into the outer bins.

    >>> count_values(np.array([0.0, 1.0, 1.0, 4.0]), 0.0, 4.0, bins=4).counts.tolist()
    [0.0, 2.0, 0.0, 1.0]
    """
    flat = values.reshape(-1)
    flat = flat[flat != 0]
    places = (flat - np.float32(low)) * np.float32(bins / (high - low))
    counts = np.bincount(np.clip(places, 0, bins - 1).astype(np.int32), minlength=bins)
    return Histogram(
        low=low, high=high, counts=counts.astype(np.float64), num_zeros=values.size - flat.size
    )


def merge_histograms(parts: Sequence[Histogram]) -> Histogram:
    """Add histograms over the same bins."""
    first = parts[0]
    return Histogram(
        low=first.low,
        high=first.high,
        counts=np.sum([part.counts for part in parts], axis=0),
        num_zeros=sum(part.num_zeros for part in parts),
    )


def collect_histograms(
    model: bytes,
    graph: Graph,
    images: Array,
    *,
    bounds: Mapping[int, tuple[float, float]],
    threads: int = 1,
) -> dict[int, Histogram]:
    """Run a float model and count the values of some of its activations.

    Of large tensors evenly spaced pixels are counted, other ones in every image.

    Args:
        model: Bytes of the ``.tflite``.
        graph: The same model, read.
        images: (N, *input shape) float32.
        bounds: Extremes of the tensors to count, by index, from ``collect_ranges``.
        threads: Interpreters that share the images.

    Returns:
        A histogram of each tensor that has values and whose extremes differ.
    """
    wanted = {index: pair for index, pair in bounds.items() if pair[1] > pair[0]}
    if not wanted:
        return {}
    most = max(1, min(threads, len(images) // _IMAGES_PER_THREAD))
    counters = [_Counter(wanted) for _ in range(choose_count(graph, list_activations(graph), most))]
    observers = open_observers(model, graph, list(wanted), batch=images[0], visits=counters)

    def count(part: int) -> None:
        for index in range(part, len(images), len(observers)):
            counters[part].image = index
            observers[part].observe(images[index])

    with ThreadPoolExecutor(len(observers)) as pool:
        list(pool.map(count, range(len(observers))))
    found = [counter.found for counter in counters]
    return {t: merge_histograms([part[t] for part in found]) for t in wanted if t in found[0]}


class _Counter:
    """Adds the values that an interpreter holds to histograms."""

    def __init__(self, bounds: Mapping[int, tuple[float, float]]) -> None:
        self.found: dict[int, Histogram] = {}
        self.image = 0
        self._bounds = bounds

    def __call__(self, tensor: int, values: Array) -> None:
        pixels = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        step = max(1, values.size // _VALUES_PER_IMAGE)
        counted = count_values(pixels[self.image % step :: step], *self._bounds[tensor])
        seen = self.found.get(tensor)
        self.found[tensor] = merge_histograms([seen, counted]) if seen else counted
