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
from edgevision.quantization.calibrate import ChannelRange, Ranges
from edgevision.quantization.layers import CONVOLUTIONS, get_bias, get_weights
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

_LIMITS = {
    None: (-np.inf, np.inf),
    "": (-np.inf, np.inf),
    "none": (-np.inf, np.inf),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
}
_WIDENED = 1.5
# Relative to the largest output of the layer.
_SAME = 1e-6


def remove_dead_channels(network: N, _images: Array) -> tuple[N, int]:
    """Take dead channels out of the weights around them.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network, and the number of layers that changed.
    """
    state = _State(graph=network.graph, ranges=network.ranges)
    changed = sum(state.visit(op) for op in network.graph.ops if _is_owned(network.graph, op))
    return network.with_constants(state.constants), changed


def bound_outputs(
    op: Op, weights: Array, bias: Array, *, seen: ChannelRange
) -> tuple[Array, Array]:
    """Bound what each output channel can give, by interval arithmetic.

    Args:
        op: A convolution without groups, or a depthwise one with one filter per channel.
        weights: As the file stores them.
        bias: (C,).
        seen: Range of each input channel; it is widened by half, and holds 0 for the padding.

    Returns:
        (C,) lowest and highest output.
    """
    low, high = np.minimum(seen.low, 0) * _WIDENED, np.maximum(seen.high, 0) * _WIDENED
    axes = (0, 1, 2) if op.kind is OpKind.DEPTHWISE_CONV_2D else (1, 2, 3)
    ends = (weights * low, weights * high)
    lower, upper = np.minimum(*ends).sum(axis=axes), np.maximum(*ends).sum(axis=axes)
    limits = _LIMITS[op.attributes.get("activation")]
    return np.clip(bias + lower, *limits), np.clip(bias + upper, *limits)


@dataclass(slots=True, kw_only=True, eq=False)
class _State:
    """Constants that changed, and (C,) values of dead channels, NaN for live ones, by tensor."""

    graph: Graph
    ranges: Ranges
    constants: dict[int, Array] = field(default_factory=dict)
    dead: dict[int, Array] = field(default_factory=dict)

    def visit(self, op: Op) -> bool:
        """Drop dead inputs and dead outputs of a layer; return whether there are any."""
        tensors = (get_weights(self.graph, op), get_bias(self.graph, op))
        weights, bias = (np.array(t.data, np.float64) for t in tensors if t is not None)
        found = self._drop_inputs(op, weights, bias)
        lower, upper = bound_outputs(op, weights, bias, seen=self.ranges[op.inputs[0]])
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
        padded = op.attributes["padding"] != "valid" and max(weights.shape[1:3]) > 1
        if padded:  # zeros at the edges: only a channel that is zero itself is the same everywhere
            gone &= value == 0
        given = weights[..., gone] * value[gone]
        if op.kind is OpKind.DEPTHWISE_CONV_2D:
            bias[gone] += given.sum(axis=(0, 1, 2))
        else:
            bias += given.sum(axis=(1, 2, 3))
        weights[..., gone] = 0
        return bool(gone.any())


def _is_owned(graph: Graph, op: Op) -> bool:
    """Whether a convolution has float weights and a bias of its own, one filter per channel."""
    if op.kind not in CONVOLUTIONS or op.attributes.get("activation") not in _LIMITS:
        return False
    weights, bias = get_weights(graph, op), get_bias(graph, op)
    owned = [t for t in (weights, bias) if t is not None and t.data is not None]
    if len(owned) < 2 or any(len(graph.consumers[t.index]) > 1 for t in owned):
        return False
    channels = graph.tensors[op.inputs[0]].shape[-1]
    return all(t.dtype == "float32" for t in owned) and bool(weights.shape[-1] == channels)
