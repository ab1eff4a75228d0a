"""How far the activations of a network reach, from its input and its batch normalizations.

Layers with a normalization are told by it. Everything between follows by rules of probability that
take channels and terms as independent: the mean of a sum is the sum of the means, and so is the
variance. That is rough where a network has few normalizations, and exact where it matters most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.errors import UnsupportedOpError
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.data_free.spread import REMEDY, Spread, apply_function, spread_normal
from edgevision.quantization.layers import WEIGHTED, get_activations, get_bias, get_weights
from edgevision.quantization.moments import group_weights

Array = np.ndarray[Any, Any]
Spreads = Mapping[int, Spread]

_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def propagate_spreads(
    graph: Graph, source: Spread, *, known: Spreads | None = None, told: Spreads | None = None
) -> dict[int, Spread]:
    """Tell the spread of every activation.

    Args:
        graph: The float network.
        source: Of its input.
        known: What layers write before their activation, by tensor index.
        told: What tensors hold, by tensor index; the rest follows.

    Returns:
        By tensor index, each with as many channels as its last axis.

    Raises:
        UnsupportedOpError: There is an operation whose effect can not be told.
    """
    known, told = known or {}, told or {}
    spreads = {graph.inputs[0]: source}
    for op in graph.ops:
        if all(tensor in told for tensor in op.outputs):
            spreads.update({tensor: told[tensor] for tensor in op.outputs})
            continue
        if op.kind not in _RULES:
            raise UnsupportedOpError(
                "what lies behind this operation can not be told without images",
                received=f"{op.name} {op.label}".strip(),
                remedy=REMEDY,
            )
        found = known.get(op.outputs[0])
        spread = _RULES[op.kind](graph, op, spreads) if found is None else found
        fused = None if op.kind is OpKind.ACTIVATION else op.attributes.get("activation")
        spreads.update(dict.fromkeys(op.outputs, apply_function(spread, fused)))
    return spreads


def _find(graph: Graph, index: int, spreads: Spreads) -> Spread:
    """Return the spread of an activation, or of a constant's channels."""
    if index in spreads:
        return spreads[index]
    data = graph.tensors[index].data
    if data is None:
        raise UnsupportedOpError(
            "what this tensor holds can not be told without images",
            received=graph.tensors[index].name,
            remedy=REMEDY,
        )
    values = data.astype(np.float64).reshape(-1, data.shape[-1] if data.ndim else 1)
    return Spread(
        mean=values.mean(axis=0),
        std=values.std(axis=0),
        low=values.min(axis=0),
        high=values.max(axis=0),
    )


def _weigh(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    """Return what a layer without normalization makes of independent inputs."""
    source = spreads[get_activations(graph, op)[0].index]
    tensor, bias = get_weights(graph, op), get_bias(graph, op)
    if tensor.data is None or op.kind is OpKind.TRANSPOSE_CONV_2D:
        raise UnsupportedOpError(
            "what this layer writes can not be told without batch normalization",
            received=tensor.name,
            remedy=REMEDY,
        )
    weights = group_weights(op, tensor.data.astype(np.float64))
    groups, _, size = weights.shape
    inputs = [v.reshape(groups, -1) for v in (source.mean, source.std**2)]
    mean, variance = (
        np.einsum("gok,gk->go", w, np.tile(v, (1, size // v.shape[1]))).ravel()
        for w, v in zip((weights, weights**2), inputs, strict=True)
    )
    shift = 0.0 if bias is None or bias.data is None else bias.data.astype(np.float64)
    return spread_normal(mean + shift, np.sqrt(variance))


def _add(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    first, second = (_find(graph, index, spreads) for index in op.inputs)
    if op.kind is OpKind.SUB:
        second = _negate(second)
    mean, std = first.mean + second.mean, np.hypot(first.std, second.std)
    ends = Spread(mean=mean, std=std, low=first.low + second.low, high=first.high + second.high)
    return spread_normal(mean, std).within(ends)


def _negate(spread: Spread) -> Spread:
    return Spread(mean=-spread.mean, std=spread.std, low=-spread.high, high=-spread.low)


def _multiply(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    first, second = (_find(graph, index, spreads) for index in op.inputs)
    pairs = ((first.low, first.high), (second.low, second.high))
    corners = np.stack([pairs[0][i] * pairs[1][j] for i, j in _CORNERS])
    squares = [spread.mean**2 + spread.std**2 for spread in (first, second)]
    mean = first.mean * second.mean
    variance = np.maximum(squares[0] * squares[1] - mean**2, 0)
    return Spread(
        mean=mean, std=np.sqrt(variance), low=corners.min(axis=0), high=corners.max(axis=0)
    )


def _activate(_graph: Graph, op: Op, spreads: Spreads) -> Spread:
    return apply_function(spreads[op.inputs[0]], op.attributes.get("activation"))


def _keep(_graph: Graph, op: Op, spreads: Spreads) -> Spread:
    return spreads[op.inputs[0]]


def _pad(_graph: Graph, op: Op, spreads: Spreads) -> Spread:
    spread = spreads[op.inputs[0]]
    return replace(spread, low=np.minimum(spread.low, 0), high=np.maximum(spread.high, 0))


def _reshape(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    """Follow channels where they stay the last axis; otherwise they become alike."""
    spread, channels = spreads[op.inputs[0]], graph.tensors[op.outputs[0]].shape[-1]
    count = len(spread.mean)
    if channels == count:
        return spread
    if channels % count == 0:
        return _change(spread, lambda values: np.tile(values, channels // count))
    return _merge(spread, channels)


def _merge(spread: Spread, channels: int) -> Spread:
    """Return the spread of any one of the channels, as often as asked for."""
    mean = float(spread.mean.mean())
    std = float(np.sqrt((spread.std**2 + (spread.mean - mean) ** 2).mean()))
    ends = (mean, std, float(spread.low.min()), float(spread.high.max()))
    filled = [np.full(channels, value) for value in ends]
    return Spread(mean=filled[0], std=filled[1], low=filled[2], high=filled[3])


def _transpose(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    spread, channels = spreads[op.inputs[0]], graph.tensors[op.outputs[0]].shape[-1]
    permutation = tuple(op.attributes.get("permutation", ()))
    if permutation and permutation[-1] in (-1, len(permutation) - 1):
        return spread
    return _merge(spread, channels)


def _concatenate(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    parts = [_find(graph, index, spreads) for index in op.inputs]
    rank = len(graph.tensors[op.outputs[0]].shape)
    if op.attributes.get("axis", -1) in (-1, rank - 1):
        fields = [(p.mean, p.std, p.low, p.high) for p in parts]
        mean, std, low, high = (np.concatenate(values) for values in zip(*fields, strict=True))
        return Spread(mean=mean, std=std, low=low, high=high)
    mean = np.mean([p.mean for p in parts], axis=0)
    squares = np.mean([p.std**2 + (p.mean - mean) ** 2 for p in parts], axis=0)
    return Spread(
        mean=mean,
        std=np.sqrt(squares),
        low=np.min([p.low for p in parts], axis=0),
        high=np.max([p.high for p in parts], axis=0),
    )


def _soften(graph: Graph, op: Op, _spreads: Spreads) -> Spread:
    channels = graph.tensors[op.outputs[0]].shape[-1]
    zeros, ones = np.zeros(channels), np.ones(channels)
    return Spread(mean=ones / channels, std=zeros, low=zeros, high=ones)


def _change(spread: Spread, change: Callable[[Array], Array]) -> Spread:
    return Spread(
        mean=change(spread.mean),
        std=change(spread.std),
        low=change(spread.low),
        high=change(spread.high),
    )


def _average(graph: Graph, op: Op, spreads: Spreads) -> Spread:
    """Keep the channels of an average over places; an average over channels is not told."""
    spread, tensor = spreads[op.inputs[0]], graph.tensors[op.inputs[0]]
    axes = [axis % len(tensor.shape) for axis in op.attributes.get("axes") or (1, 2)]
    if len(tensor.shape) - 1 in axes:
        raise UnsupportedOpError(
            "averages over channels can not be told without images",
            received=op.name,
            remedy=REMEDY,
        )
    return spread


_RULES: Mapping[OpKind, Callable[[Graph, Op, Spreads], Spread]] = {
    **dict.fromkeys(WEIGHTED, _weigh),
    OpKind.ADD: _add,
    OpKind.SUB: _add,
    OpKind.MUL: _multiply,
    OpKind.ACTIVATION: _activate,
    OpKind.SOFTMAX: _soften,
    OpKind.MAX_POOL: _keep,
    OpKind.AVERAGE_POOL: _keep,
    OpKind.RESIZE: _keep,
    OpKind.GLOBAL_POOL: _average,
    OpKind.REDUCE: _average,
    OpKind.PAD: _pad,
    OpKind.RESHAPE: _reshape,
    OpKind.TRANSPOSE: _transpose,
    OpKind.CONCAT: _concatenate,
}
