"""Activations that a gate closes: hard-swish and ReLU behind a layer, and what they do not read.

``x · relu6(x + 3) / 6`` is zero wherever x is below −3, and a ReLU wherever it is below zero. One
integer that stands for all of that is enough: the range of such an activation ends where its gate
closes, and its steps are finer by what lies below. Nothing is lost by that, on any image. The range
goes one step further than the gate, so that the lowest integer surely closes it: a gate that stays
open by a hair gives every closed pixel the same error, and means add that up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange, Ranges
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.rewrites.editing import LINEAR, get_linear_layer, has_constants

Array = np.ndarray[Any, Any]

# Of an 8-bit range, less the one below the floor.
_STEPS = 254
_CLOSED_BELOW = {"HARD_SWISH": -3.0, "RELU": 0.0, "RELU6": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedProduct:
    """``u · relu6(w u + b)``, channel by channel: hard-swish as it is rewritten for integers.

    Attributes:
        layer: The convolution that writes u, and nobody else reads it.
        gate: The depthwise 1×1 convolution with ReLU6.
        product: The multiplication.
    """

    layer: Op
    gate: Op
    product: Op


def find_gated_products(graph: Graph) -> Iterator[GatedProduct]:
    """Yield the products of a layer's output with a gate that reads it too."""
    for op in graph.ops:
        if op.name != "MUL" or op.attributes.get("activation") not in LINEAR:
            continue
        for source, other in (op.inputs, op.inputs[::-1]):
            layer = get_linear_layer(graph, source)
            gate = _get_gate(graph, source, other)
            if layer is None or gate is None or source in graph.outputs:
                continue
            if sorted(graph.consumers[source]) == sorted((gate.index, op.index)):
                yield GatedProduct(layer=layer, gate=gate, product=op)


def find_floors(graph: Graph) -> dict[int, Array]:
    """Return the values below which nothing reads an activation, by tensor index.

    Returns:
        (C,) float64 for each; every value below gives what the floor itself gives.
    """
    floors = dict[int, Array]()
    for tensor, readers in graph.consumers.items():
        limits = {_CLOSED_BELOW.get(graph.ops[index].name) for index in readers}
        shape = graph.tensors[tensor].shape
        if tensor in graph.outputs or len(limits) != 1 or not shape:
            continue
        limit = limits.pop()
        if limit is not None:
            floors[tensor] = np.full(shape[-1], limit)
    for found in find_gated_products(graph):
        weights, bias = get_weights(graph, found.gate).data, get_bias(graph, found.gate)
        if weights is not None and bias is not None and bias.data is not None:
            floors[found.gate.inputs[0]] = -np.float64(bias.data) / weights.reshape(-1)
    return floors


def raise_floors(graph: Graph, ranges: Ranges) -> dict[int, ChannelRange]:
    """Let ranges begin where gates close.

    Args:
        graph: The float network.
        ranges: Range of every float activation.
    """
    raised = dict(ranges)
    for tensor, floor in find_floors(graph).items():
        if tensor in ranges:
            seen = ranges[tensor]
            step = max(seen.bounds()[1] - float(floor.min()), 0.0) / _STEPS
            low, high = (np.maximum(s, floor - step) for s in (seen.low, seen.high))
            raised[tensor] = ChannelRange(low=low.astype(np.float32), high=high.astype(np.float32))
    return raised


def clip_unread(values: Array, floors: Mapping[int, Array], tensor: int) -> Array:
    """Raise the values of an activation, (…, C), to where its gate closes."""
    floor = floors.get(tensor)
    return values if floor is None else np.maximum(values, floor.astype(values.dtype))


def _get_gate(graph: Graph, source: int, tensor: int) -> Op | None:
    """Return what writes a tensor if it is a gate of another one."""
    index = graph.producers.get(tensor)
    if index is None:
        return None
    op = graph.ops[index]
    fits = op.kind is OpKind.DEPTHWISE_CONV_2D and op.attributes.get("activation") == "relu6"
    if not fits or op.inputs[0] != source or not has_constants(graph, op):
        return None
    weights = get_weights(graph, op)
    single = weights.shape[:3] == (1, 1, 1) and weights.shape[3] == graph.tensors[source].shape[-1]
    alone = len(graph.consumers[tensor]) == 1
    opens = weights.data is not None and bool(np.all(weights.data > 0))
    return op if single and alone and opens else None
