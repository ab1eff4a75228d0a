"""Channels that a quantizer scaled before it rounded, told from the weights.

Equalization multiplies a channel by a factor and divides the next layer's weights by it: the
network answers the same, yet inner values differ. Without the factors such channels would look
like noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.constants import dequantize_tensor
from edgevision.quantization.diagnosis.pairing import Pair, find_constant, list_read
from edgevision.quantization.layers import REPAIRABLE

Array = np.ndarray[Any, Any]

# Rounding alone moves the norm of a channel's weights by less.
_LEAST_CHANGE = 0.1
# Channels with fewer steps than this say nothing: they would look scaled in a collapsed file.
_LEAST_STEPS = 4
_LEAST_WEIGHTS = 16
_MOST_REFINED = 1.25
_KEEPING = (
    *(OpKind.PAD, OpKind.MAX_POOL, OpKind.AVERAGE_POOL, OpKind.GLOBAL_POOL, OpKind.REDUCE),
    *(OpKind.ACTIVATION, OpKind.ADD, OpKind.RESIZE, OpKind.RESHAPE),
)


def find_gain(graphs: tuple[Graph, Graph], pair: Pair, gains: Mapping[int, Array]) -> Array | None:
    """Find by how much each channel that a layer writes was multiplied.

    Args:
        graphs: The float and the quantized network.
        pair: The layer in both.
        gains: (C,) of the tensors before it, by index in the float network.

    Returns:
        (C,) float32; ``None`` where the channels kept their scale.
    """
    found = _find_gain(*graphs, pair, gains)
    if found is None or np.abs(found - 1).max(initial=0) <= _LEAST_CHANGE:
        return None
    return found


def refine_gain(gain: Array, expected: Array, actual: Array) -> Array:
    """Fit the factors to the activations, near what the weights tell.

    Rounded weights tell a factor to a few percent, and the errors of one layer would go into the
    next one's: after twenty layers nothing could be said of them.

    Args:
        gain: (C,) as the weights tell.
        expected: (N, …, C) float32 of the float network.
        actual: The same of the quantized one.
    """
    channels = gain.size
    product, power = np.zeros(channels), np.zeros(channels)
    for one, other in zip(expected, actual, strict=True):
        scaled = one.reshape(-1, channels) * gain
        product += np.einsum("nc,nc->c", scaled, other.reshape(-1, channels))
        power += np.einsum("nc,nc->c", scaled, scaled)
    used = power > 0
    factor = np.ones(channels)
    factor[used] = np.clip(product[used] / power[used], 1 / _MOST_REFINED, _MOST_REFINED)
    return np.asarray(gain * factor, np.float32)


def read_weights(graph: Graph, op: Op) -> Array:
    """Return the real weights of a layer, in the shape of the file, float32."""
    tensor = find_constant(graph, op.inputs[1])
    if tensor is None or tensor.data is None:
        return np.zeros(graph.tensors[op.inputs[1]].shape, np.float32)
    return dequantize_tensor(tensor.data, tensor.quantization)


def undo_gains(
    op: Op, weights: Array, gain: Array | None, output_gain: Array | None = None
) -> Array:
    """Return the weights as they would be for channels that were not scaled.

    Args:
        op: The layer.
        weights: In the shape of the file.
        gain: (C,) of its input; left alone where the weights' last axis has another size.
        output_gain: (O,) of its output.
    """
    if gain is not None and gain.size == weights.shape[-1]:
        weights = weights * gain
    if output_gain is not None:
        depthwise = op.kind is OpKind.DEPTHWISE_CONV_2D
        shape = (-1,) if depthwise else (-1, *[1] * (weights.ndim - 1))
        weights = weights / output_gain.reshape(shape)
    return np.asarray(weights, np.float32)


def sort_channels(op: Op, weights: Array) -> Array:
    """Return (O, K): the weights of each output channel."""
    if op.kind is OpKind.DEPTHWISE_CONV_2D:
        return weights.reshape(-1, weights.shape[-1]).T
    return weights.reshape(weights.shape[0], -1)


def share_signs(before: Graph, after: Graph, ops: tuple[Op, Op]) -> float:
    """Return the share of weights that kept their sign, whatever their channels were scaled by.

    Only weights that are not zero in either count; 1 where too few are left to tell.
    """
    first, second = (
        read_weights(graph, op) for graph, op in zip((before, after), ops, strict=True)
    )
    used = (first != 0) & (second != 0)
    if int(used.sum()) < _LEAST_WEIGHTS:
        return 1.0
    return float((np.sign(first[used]) == np.sign(second[used])).mean())


def _find_gain(before: Graph, after: Graph, pair: Pair, gains: Mapping[int, Array]) -> Array | None:
    op, reads = pair.before.op, list_read(before, pair.before.op)
    channels = before.tensors[pair.before.output].shape[-1:]
    if op.kind is OpKind.CONCAT:
        return _join(before, reads, gains) if _is_last_axis(before, op) else None
    gain = gains.get(reads[0]) if reads else None
    if op.kind in _KEEPING:
        return gain if gain is not None and gain.shape == channels else None
    if op.kind not in REPAIRABLE:
        return None
    stored = sort_channels(op, undo_gains(op, read_weights(after, pair.after.op), gain))
    return _fit_gain(sort_channels(op, read_weights(before, op)), stored, _find_steps(after, pair))


def _fit_gain(weights: Array, stored: Array, steps: Array) -> Array:
    """Return the factor of each output channel; 1 where the stored weights are too coarse."""
    power = np.square(weights, dtype=np.float64).sum(axis=1)
    product = np.einsum("ok,ok->o", weights, stored, dtype=np.float64)
    coarse = (steps < _LEAST_STEPS) | (power <= 0) | (product <= 0)
    return np.where(coarse, 1.0, product / np.where(power > 0, power, 1.0)).astype(np.float32)


def _find_steps(graph: Graph, pair: Pair) -> Array:
    """Return (O,) how many steps the largest stored weight of each channel has."""
    tensor = find_constant(graph, pair.after.op.inputs[1])
    if tensor is None or tensor.data is None or tensor.quantization is None:
        return np.full(graph.tensors[pair.after.output].shape[-1], np.inf)
    zero = tensor.quantization.zero_points[0]
    rows = sort_channels(pair.after.op, tensor.data.astype(np.int32) - zero)
    return np.asarray(np.abs(rows).max(axis=1))


def _join(graph: Graph, reads: list[int], gains: Mapping[int, Array]) -> Array | None:
    if not any(t in gains for t in reads):
        return None
    parts = [gains.get(t, np.ones(graph.tensors[t].shape[-1], np.float32)) for t in reads]
    return np.concatenate(parts)


def _is_last_axis(graph: Graph, op: Op) -> bool:
    rank = len(graph.tensors[op.outputs[0]].shape)
    return int(op.attributes.get("axis", -1)) % rank == rank - 1
