"""Weights and biases of one layer, taken from one network into the units of the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.constants import dequantize_tensor
from edgevision.quantization.diagnosis.places import Places
from edgevision.quantization.diagnosis.sides import find_constant
from edgevision.quantization.layers import get_bias

Array = np.ndarray[Any, Any]
Ends = tuple[Places | None, Places | None]
"""Places of what a layer reads and of what it writes; ``None`` where channels are what they were.
"""


def read_weights(graph: Graph, op: Op) -> Array:
    """Return the real weights of a layer, in the shape of the file, float32."""
    tensor = find_constant(graph, op.inputs[1])
    if tensor is None or tensor.data is None:
        return np.zeros(graph.tensors[op.inputs[1]].shape, np.float32)
    return dequantize_tensor(tensor.data, tensor.quantization)


def read_bias(graph: Graph, op: Op, given: Places | None) -> Array | None:
    """Return the real bias of a layer, (O,) float64, as if what it reads were not shifted.

    Some writers leave its scale out: input scale × weight scale.
    """
    bias = get_bias(graph, op)
    if bias is None or bias.data is None:
        return None
    real = np.asarray(bias.data, np.float64)
    if bias.data.dtype.kind != "f":
        parts = (bias,) if bias.quantization else [graph.tensors[op.inputs[i]] for i in (0, 1)]
        for part in parts:
            scales = part.quantization.scales if part.quantization else (1.0,)
            real = real * np.asarray(scales, np.float64)
    if given is None or not given.shifts.any():
        return real
    weights = read_weights(graph, op)
    if weights.shape[-1] != given.num_places:
        return real
    read = weights * given.shifts
    axes = tuple(range(read.ndim - 1)) if _is_depthwise(op) else tuple(range(1, read.ndim))
    return np.asarray(real + read.sum(axis=axes))


def collect_weights(op: Op, weights: Array, given: Places | None) -> Array:
    """Return the weights of a quantized layer as they would be for the float network's inputs.

    Args:
        op: The layer.
        weights: In the shape of the file, real.
        given: Places of its input; left alone where the weights' last axis has another size.
    """
    if given is None or given.num_places != weights.shape[-1]:
        return weights
    if _is_depthwise(op):
        return np.asarray(weights * given.factors, np.float32)
    return given.collect(weights)


def restore_weights(op: Op, weights: Array, own: Array, ends: Ends) -> Array:
    """Return the weights of a quantized layer as they would be in the float network.

    Args:
        op: The layer.
        weights: In the shape of the file, real.
        own: The float network's; taken for channels that have no place.
        ends: Places of its input and of its output.
    """
    given, written = ends
    weights = collect_weights(op, weights, given)
    if written is None:
        return weights
    if _is_depthwise(op):
        return written.average(weights, own)
    rows = written.average(np.moveaxis(weights, 0, -1), np.moveaxis(own, 0, -1))
    return np.ascontiguousarray(np.moveaxis(rows, -1, 0))


def spread_weights(op: Op, weights: Array, ends: Ends) -> Array:
    """Return the weights of a float layer as they would be in the quantized network."""
    given, written = ends
    if _is_depthwise(op):
        weights = weights if written is None else written.spread(weights)
        fits = given is not None and given.num_places == weights.shape[-1]
        return weights / given.factors if given is not None and fits else weights
    if given is not None and given.num_channels == weights.shape[-1]:
        weights = given.divide(weights)
    if written is None:
        return weights
    return np.moveaxis(written.spread(np.moveaxis(weights, 0, -1)), -1, 0)


def sort_channels(op: Op, weights: Array) -> Array:
    """Return (O, K): the weights of each output channel."""
    if _is_depthwise(op):
        return weights.reshape(-1, weights.shape[-1]).T
    return weights.reshape(weights.shape[0], -1)


def _is_depthwise(op: Op) -> bool:
    return op.kind is OpKind.DEPTHWISE_CONV_2D
