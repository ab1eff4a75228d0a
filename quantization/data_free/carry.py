"""Spreads of a network told again of its rewritten form.

Rewrites keep the names of the tensors that they leave in place, and may scale and shift their
channels. By how much shows on any input: both networks run on the same noise, and a line fits the
values of each channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import extract_outputs
from edgevision.graph.graph import Graph
from edgevision.quantization.answers import run_network
from edgevision.quantization.data_free.spread import Spread
from edgevision.quantization.network import Network
from edgevision.quantization.observe import list_activations

Array = np.ndarray[Any, Any]

# Relative to the largest value of the tensor: sums in another order are closer.
_SAME = 1e-3
_MOVES = 1e-3


def carry_spreads(
    spreads: Mapping[int, Spread], before: Network, after: Network
) -> dict[int, Spread]:
    """Find tensors again in a rewritten network.

    Args:
        spreads: By tensor index of the network before.
        before: The network that they were told of.
        after: The rewritten one.

    Returns:
        By tensor index of the rewritten network, without those that are new.
    """
    names = _index_names(after.graph)
    shared = [
        (old, names[name])
        for name, old in _index_names(before.graph).items()
        if old in spreads and name in names
    ]
    noise = _draw_noise(before.graph, spreads[before.graph.inputs[0]])
    values = (
        run_network(extract_outputs(network.model, [pair[side] for pair in shared]), noise)
        for side, network in enumerate((before, after))
    )
    carried = {}
    for (old, new), was, became in zip(shared, *values, strict=True):
        line = fit_lines(*(v.reshape(-1, v.shape[-1]).astype(np.float64) for v in (was, became)))
        if line is not None:
            carried[new] = move_spread(spreads[old], *line)
    return carried


def fit_lines(before: Array, after: Array) -> tuple[Array, Array] | None:
    """Fit a factor and a shift to every channel.

    Args:
        before: (N, C) float64.
        after: (N, C) float64, of the same places.

    Returns:
        (C,) factors and (C,) shifts; ``None`` where values do not lie on lines. A channel that does
        not move has the factor of the others.

    >>> before = np.array([[0.0, 1.0], [1.0, 1.0]])
    >>> factor, shift = fit_lines(before, 2 * before + 3)
    >>> factor.tolist(), shift.tolist()
    ([2.0, 2.0], [3.0, 3.0])
    """
    means = before.mean(axis=0), after.mean(axis=0)
    centred = before - means[0]
    power = np.square(centred).sum(axis=0)
    moving = power > _MOVES**2 * max(float(np.square(before).sum(axis=0).max()), 1e-30)
    factor = np.divide((centred * after).sum(axis=0), power, out=np.ones_like(power), where=moving)
    factor[~moving] = np.median(factor[moving]) if moving.any() else 1.0
    shift = means[1] - factor * means[0]
    left = np.abs(before * factor + shift - after).max()
    return (factor, shift) if left <= _SAME * max(float(np.abs(after).max()), 1e-30) else None


def move_spread(spread: Spread, factor: Array, shift: Array) -> Spread:
    """Return the spread of values times a factor, plus a shift."""
    ends = spread.low * factor + shift, spread.high * factor + shift
    return Spread(
        mean=spread.mean * factor + shift,
        std=spread.std * np.abs(factor),
        low=np.minimum(*ends),
        high=np.maximum(*ends),
    )


def _index_names(graph: Graph) -> dict[str, int]:
    written = (t for t in list_activations(graph) if t not in graph.inputs)
    return {graph.tensors[t].name: t for t in written if graph.tensors[t].size}


def _draw_noise(graph: Graph, pixels: Spread) -> Array:
    shape = graph.tensors[graph.inputs[0]].shape
    return np.random.default_rng(0).uniform(pixels.low, pixels.high, (1, *shape)).astype(np.float32)
