"""What a channel never falls below moves into the next layer's bias.

After Nagel et al. 2019, Data-Free Quantization (https://arxiv.org/abs/1906.04721), section 4.1.3,
"absorbing high biases": a channel whose values all lie above c > 0 gives ``y - c`` instead, and the
layer behind it adds ``W c`` to its bias. All channels share one scale, so finer steps come only
where the range of the whole tensor shrinks; elsewhere the network is left alone.

The paper takes c from batch normalization, three deviations below the mean; here it comes from the
ranges, measured or told. Behind ReLU a channel moves by what it never falls below, less a margin:
exact as long as that holds. Layers without an activation, as the narrow ends of inverted residual
blocks, lose nothing by a shift in either direction, so there channels move to their middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.calibrate import ChannelRange, widen_range
from edgevision.quantization.layer_pairs import (
    CEILING,
    find_pairs,
    is_padded,
    push_values,
)
from edgevision.quantization.layers import REPAIRABLE, get_bias, get_weights
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

_LINEAR = (None, "", "none")
# For images on which a channel goes further, as a share of its own range.
_MARGIN = 0.1
# A range that shrinks by less is not worth a change.
_WORTH = 0.95


def absorb_biases(network: N, _images: Array) -> tuple[N, int]:
    """Move what channels never fall below into the biases behind them.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network with its ranges, and the number of tensors that changed.
    """
    graph, ranges, constants = network.graph, dict(network.ranges), dict[int, Array]()
    changed = 0
    for first, second in _find_sites(graph):
        tensor = first.outputs[0]
        if tensor not in ranges:
            continue
        shift = find_shift(ranges[tensor], first.attributes.get("activation"))
        if not shift.any():
            continue
        _move(graph, (first, second), shift, constants)
        seen = ranges[tensor]
        ranges[tensor] = ChannelRange(low=seen.low - shift, high=seen.high - shift)
        changed += 1
    return network.with_constants(constants).with_ranges(ranges), changed


def find_shift(seen: ChannelRange, activation: str | None) -> Array:
    """Return what every channel gives less, (C,) float32; zeros where that makes nothing finer.

    Args:
        seen: What the channels held.
        activation: Of the layer that writes them.

    >>> seen = ChannelRange(low=np.array([0.0, 8.0]), high=np.array([4.0, 10.0]))
    >>> find_shift(seen, "relu").tolist(), find_shift(seen, "none").tolist()
    ([0.0, 6.0], [2.0, 9.0])
    >>> find_shift(seen, "relu6").tolist()
    [0.0, 0.0]
    """
    low, high = seen.low.astype(np.float64), seen.high.astype(np.float64)
    width = high - low
    if activation in _LINEAR:
        shift = (low + high) / 2
    else:
        allowed = np.maximum(low - _MARGIN * width, 0.0)
        if activation == "relu6":  # whose ceiling would have to move too
            allowed[high + _MARGIN * width >= CEILING] = 0.0
        # No further than the others ask for: what is not moved can not be wrong.
        needed = (high - allowed).max(initial=0.0)
        shift = np.clip(high - needed, 0.0, allowed)
    shift = shift.astype(np.float32)
    before, after = (
        float(np.subtract(*widen_range(*side)[::-1]))
        for side in (seen.bounds(), (float((low - shift).min()), float((high - shift).max())))
    )
    return shift if after < _WORTH * before else np.zeros_like(shift)


def _find_sites(graph: Graph) -> Iterator[tuple[Op, Op]]:
    """Yield pairs of which the second sees no padding, whose zeros would be something else."""
    for first, second in find_pairs(graph, REPAIRABLE):
        bias = get_bias(graph, second)
        if bias is None or len(graph.consumers[bias.index]) > 1 or bias.dtype != "float32":
            continue
        if is_padded(second, get_weights(graph, second)):
            continue
        yield first, second


def _move(graph: Graph, pair: tuple[Op, Op], shift: Array, constants: dict[int, Array]) -> None:
    """Take the shift from the first layer's bias, and give what it made to the second's."""
    first, second = pair
    weights = get_weights(graph, second)
    if weights.data is None:
        return
    given = push_values(second, weights.data, shift.astype(np.float64))
    for op, change in ((first, -shift), (second, given)):
        bias = get_bias(graph, op)
        if bias is not None:
            before = constants.get(bias.index, bias.data)
            constants[bias.index] = (before + change).astype(np.float32)
