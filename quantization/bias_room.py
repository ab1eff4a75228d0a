"""Ranges that leave room for the biases of the layers that read them.

A bias is stored in 32 bits, in steps of input scale × weight scale. Behind activations that are
almost zero, as on a feature map that never answers, those steps are so small that the bias does not
fit, and the layer would answer nothing instead of its bias.
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.calibrate import ChannelRange, Ranges
from edgevision.quantization.layers import find_layers, get_activations, get_bias, get_weights

# Half of what 32 bits hold: the sums of the products come on top.
_LARGEST = 2.0**30
_STEPS = 255
_WEIGHT_STEPS = 127


def leave_bias_room(graph: Graph, ranges: Ranges) -> Ranges:
    """Widen the ranges of activations that are too small for the biases behind them.

    Args:
        graph: The float network.
        ranges: Range of every float activation.
    """
    widened = dict(ranges)
    for op in find_layers(graph):
        source = get_activations(graph, op)[0].index
        needed = _find_width(graph, op)
        if source not in widened:
            continue
        low, high = widened[source].bounds()
        if max(high, 0) - min(low, 0) < needed:
            seen = widened[source]
            top = np.maximum(seen.high, np.float32(min(low, 0) + needed))
            widened[source] = ChannelRange(low=seen.low, high=top)
    return widened


def _find_width(graph: Graph, op: Op) -> float:
    """Return the smallest width of a layer's input range with which its bias fits."""
    weights, bias = get_weights(graph, op).data, get_bias(graph, op)
    if weights is None or bias is None or bias.data is None or not weights.size:
        return 0.0
    # A channel without weights needs no room: no input reaches it.
    step = float(np.abs(weights).max()) / _WEIGHT_STEPS
    largest = float(np.abs(bias.data).max(initial=0.0))
    return largest / (step * _LARGEST) * _STEPS if step > 0 else 0.0
