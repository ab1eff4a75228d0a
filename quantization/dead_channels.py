"""Channels that provably never change: their weights go to zero, what they give into biases.

Training leaves channels behind ReLU that no input can open. The weights behind them mean nothing,
and are often huge (BatchNorm divides by a standard deviation of almost zero): where all channels
share one scale, they alone decide it. A channel counts as dead where interval arithmetic over the
ranges seen, widened by half, bounds its output to one value; the network computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import Ranges
from edgevision.quantization.channel_bounds import (
    bound_channels,
    is_owned,
    read_constants,
)
from edgevision.quantization.layer_pairs import is_padded, push_values
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

# Relative to the largest output of the layer.
_SAME = 1e-6


def remove_dead_channels(network: N, _images: Array) -> tuple[N, int]:
    """Take dead channels out of the weights around them.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network, and the number of layers that changed.
    """
    bounds = bound_channels(network.graph, network.ranges)
    state = _State(graph=network.graph, ranges=network.ranges, bounds=bounds)
    changed = sum(state.visit(op) for op in network.graph.ops if is_owned(network.graph, op))
    return network.with_constants(state.constants), changed


@dataclass(slots=True, kw_only=True, eq=False)
class _State:
    """Constants that changed, and (C,) values of dead channels, NaN for live ones, by tensor."""

    graph: Graph
    ranges: Ranges
    bounds: Ranges
    constants: dict[int, Array] = field(default_factory=dict)
    dead: dict[int, Array] = field(default_factory=dict)

    def visit(self, op: Op) -> bool:
        """Drop dead inputs and dead outputs of a layer; return whether there are any."""
        tensors = (get_weights(self.graph, op), get_bias(self.graph, op))
        weights, bias = read_constants(self.graph, op)
        found = self._drop_inputs(op, weights, bias)
        bounds = self.bounds[op.outputs[0]]
        lower, upper = bounds.low, bounds.high
        reach = max(map(abs, self.ranges[op.outputs[0]].bounds()))
        closed = upper - lower <= _SAME * reach
        if closed.any():
            value = (lower + upper) / 2
            rows = weights if op.kind is OpKind.DEPTHWISE_CONV_2D else weights.T
            rows[..., closed] = 0
            # Behind ReLU anything below zero gives zero: such a bias stays as small as it was.
            bias[closed] = np.where(value == 0, np.minimum(bias, 0), value)[closed]
            self.dead[op.outputs[0]] = np.where(closed, value, np.nan)
            found = True
        if found:
            for tensor, values in zip(tensors, (weights, bias), strict=True):
                if tensor is not None:
                    self.constants[tensor.index] = values.astype(np.float32)
        return found

    def _drop_inputs(self, op: Op, weights: Array, bias: Array) -> bool:
        """Move what dead input channels give into the bias, in place."""
        value = self.dead.get(op.inputs[0])
        if value is None:
            return False
        gone = np.isfinite(value)
        # Zeros at the edges: only a channel that is zero itself is the same everywhere.
        if is_padded(op, get_weights(self.graph, op)):
            gone &= value == 0
        rows = gone if op.kind is OpKind.DEPTHWISE_CONV_2D else slice(None)
        bias[rows] += push_values(op, weights[..., gone], value[gone])
        weights[..., gone] = 0
        return bool(gone.any())
