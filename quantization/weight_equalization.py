"""Equalization of weights between layers, for weights that share one scale per tensor.

Where one scale serves all channels, a channel with small weights gets few of its 255 steps. Between
two layers a channel may be multiplied by any positive factor when the next layer's weights are
divided by it, so that small rows grow at the cost of large columns: after Nagel et al. 2019,
Data-Free Quantization (https://arxiv.org/abs/1906.04721), section 4.1, repeated over the chain
until nothing moves. No channel is scaled beyond the range of its tensor or made smaller: ReLU6
stays what it is, and activations lose nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layer_pairs import find_pairs, find_room, measure_reach, scale_pair
from edgevision.quantization.layers import get_weights
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

_MAX_ROUNDS = 20
_SETTLED = 1e-3


def equalize_weights(network: N, _images: Array) -> tuple[N, int]:
    """Scale channels between layers so that weights share their tensors' scales evenly.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network with its ranges, and the number of tensors that changed.
    """
    graph = network.graph
    ranges, constants = dict(network.ranges), dict[int, Array]()
    pairs = [pair for pair in find_pairs(graph) if pair[0].outputs[0] in ranges]
    changed: set[int] = set()
    for _ in range(_MAX_ROUNDS):
        moved = [pair[0].outputs[0] for pair in pairs if _balance(graph, pair, ranges, constants)]
        changed.update(moved)
        if not moved:
            break
    return network.with_constants(constants).with_ranges(ranges), len(changed)


def find_balance(reach: tuple[Array, Array], room: Array) -> Array:
    """Return the factor of every channel, at least 1, that balances its weights on both sides.

    Args:
        reach: (C,) largest weight of each channel in the layer that writes it, and in the one that
            reads it.
        room: (C,) largest factor with which the channel stays in its tensor's range.

    >>> reach = (np.array([1.0, 0.01]), np.array([1.0, 1.0]))
    >>> find_balance(reach, np.array([1.0, 20.0])).tolist()
    [1.0, 10.0]
    """
    written, read = (values / max(float(values.max(initial=0.0)), 1e-30) for values in reach)
    usable = (written > 0) & (read > 0)
    ratio = np.divide(read, written, out=np.ones_like(read), where=usable)
    factors: Array = np.clip(np.sqrt(ratio), 1.0, np.maximum(room, 1.0)).astype(np.float32)
    return factors


def _balance(
    graph: Graph, pair: tuple[Op, Op], ranges: dict[int, ChannelRange], constants: dict[int, Array]
) -> bool:
    """Balance one pair in place; return whether that changed anything."""
    tensor = pair[0].outputs[0]
    seen = ranges[tensor]
    factors = find_balance(_measure_sides(graph, pair, constants), find_room(seen))
    if float(factors.max(initial=1.0)) < 1 + _SETTLED:
        return False
    scale_pair(graph, pair, factors, constants)
    ranges[tensor] = ChannelRange(low=seen.low * factors, high=seen.high * factors)
    return True


def _measure_sides(
    graph: Graph, pair: tuple[Op, Op], constants: dict[int, Array]
) -> tuple[Array, Array]:
    weights = []
    for op in pair:
        tensor = get_weights(graph, op)
        values = constants.get(tensor.index, tensor.data)
        weights.append(np.zeros(tensor.shape) if values is None else values)
    return measure_reach(pair[0], weights[0]), np.abs(weights[1]).max(axis=(0, 1, 2))
