"""Equalization of activations: quiet channels use as many steps of the shared scale as loud ones.

Between two layers a channel may be multiplied by any positive factor when the next layer's weights
are divided by it: the float network computes the same. A channel that peaks at a third of the
tensor's range then has three times finer steps. ReLU6 stays as it is, since no channel is scaled
beyond the range in which it was seen. Weights keep their own scale per output channel, so they lose
little; the idea is that of Nagel et al. 2019 (https://arxiv.org/abs/1906.04721), section 4.1,
applied to activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import Network

Array = np.ndarray[Any, Any]

_KINDS = (OpKind.CONV_2D, OpKind.DEPTHWISE_CONV_2D)
_LINEAR_ACTIVATIONS = (None, "", "none", "relu", "relu6")
# Beyond this the weights lose more than the activations gain (measured on MobileNetV1 0.25).
_MAX_FACTOR = 3.0
# Room for images on which a channel goes further than on those seen.
_MARGIN = 1.1


def equalize_activations(network: Network, _images: Array) -> tuple[Network, int]:
    """Scale channels between layers so that they share their tensor's range evenly.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network with its ranges, and the number of tensors that changed.
    """
    graph, ranges = network.graph, network.ranges
    constants: dict[int, Array] = {}
    scaled = dict(ranges)
    changed = 0
    for first, second in find_pairs(graph):
        tensor = first.outputs[0]
        if tensor not in ranges:
            continue
        factors = find_factors(ranges[tensor])
        if factors.max(initial=1.0) <= 1.0:
            continue
        _scale_pair(graph, (first, second), factors, constants)
        seen = ranges[tensor]
        scaled[tensor] = ChannelRange(low=seen.low * factors, high=seen.high * factors)
        changed += 1
    return network.with_constants(constants).with_ranges(scaled), changed


def find_pairs(graph: Graph) -> Iterator[tuple[Op, Op]]:
    """Yield the layers of which the second alone reads the first, with nothing but ReLU between."""
    for op in graph.ops:
        readers = graph.consumers.get(op.outputs[0], ())
        if op.kind not in _KINDS or len(readers) != 1 or op.outputs[0] in graph.outputs:
            continue
        reader = graph.ops[readers[0]]
        linear = op.attributes.get("activation") in _LINEAR_ACTIVATIONS
        if linear and _may_scale(graph, op, reader):
            yield op, reader


def find_factors(seen: ChannelRange) -> Array:
    """Return the factor of every channel, 1 to 3, with which it stays in its tensor's range.

    >>> low, high = np.zeros(3), np.array([6.0, 2.0, 0.0])
    >>> [round(float(f), 2) for f in find_factors(ChannelRange(low=low, high=high))]
    [1.0, 2.73, 1.0]
    """
    low, high = seen.bounds()
    room = np.full(seen.high.shape, np.inf)
    for bound, values in ((high, seen.high), (-low, -seen.low)):
        used = values * _MARGIN > 1e-6
        if bound > 0:
            room[used] = np.minimum(room[used], bound / (values[used] * _MARGIN))
    room[np.isinf(room)] = 1.0  # a dead channel
    factors: Array = np.clip(room, 1.0, _MAX_FACTOR).astype(np.float32)
    return factors


def _may_scale(graph: Graph, first: Op, second: Op) -> bool:
    """Whether both layers have constants of their own, and the second takes channel by channel."""
    bias = get_bias(graph, first)
    if second.kind not in _KINDS or second.inputs[0] != first.outputs[0] or bias is None:
        return False
    owned = (get_weights(graph, first), get_weights(graph, second), bias)
    if any(t.data is None or t.dtype != "float32" for t in owned):
        return False
    if any(len(graph.consumers[t.index]) > 1 for t in owned):
        return False
    channels = graph.tensors[first.outputs[0]].shape[-1]
    return bool(get_weights(graph, second).shape[-1] == channels)


def _scale_pair(
    graph: Graph, pair: tuple[Op, Op], factors: Array, constants: dict[int, Array]
) -> None:
    """Multiply the outputs of the first layer, and divide what the second makes of them."""
    first, second = pair
    weights, bias, readers = (
        get_weights(graph, first),
        get_bias(graph, first),
        get_weights(graph, second),
    )
    depthwise = first.kind is OpKind.DEPTHWISE_CONV_2D
    rows = factors if depthwise else factors.reshape(-1, 1, 1, 1)
    changes = [(weights, rows), (readers, 1 / factors)]
    if bias is not None:
        changes.append((bias, factors))
    for tensor, factor in changes:
        values = constants.get(tensor.index, tensor.data)
        if values is not None:
            constants[tensor.index] = (values * factor).astype(np.float32)
