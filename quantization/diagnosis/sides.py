"""What counts as one layer: an operation, with what only one of two files may write apart from it.

Converters fuse an activation into the layer before it or leave it behind, and multiply by a
constant in an operation of its own or in the weights around. Hard-swish may be written as a gate
and a product, since integer kernels have those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.quantization.constants import dequantize_tensor
from edgevision.quantization.layers import WEIGHTED

PASSING = (OpKind.QUANTIZE, OpKind.DEQUANTIZE)
SWISH = "hard_swish"

_LINEAR = (None, "", "none")
_MEAN = "mean"
_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One layer in one network.

    Attributes:
        op: The operation, or the first of several.
        last: Index of the last operation that belongs to it.
        output: Tensor that it writes.
        factor: What its result is multiplied with before it is written.
        expanded: Whether it is a hard-swish that was written as a gate and a product.
    """

    op: Op
    last: int
    output: int
    factor: float = 1.0
    expanded: bool = False


def find_constant(graph: Graph, index: int) -> Tensor | None:
    """Return the constant behind a tensor, through DEQUANTIZE; ``None`` where it is computed."""
    tensor = graph.tensors[trace_back(graph, index)]
    return tensor if tensor.constant else None


def trace_back(graph: Graph, index: int) -> int:
    """Return what a tensor was before it changed its number type or scale."""
    producer = graph.producers.get(index)
    while producer is not None and graph.ops[producer].kind in PASSING:
        index = graph.ops[producer].inputs[0]
        producer = graph.producers.get(index)
    return index


def list_read(graph: Graph, op: Op) -> list[int]:
    """List the activations that an operation reads."""
    return [t for t in op.inputs if t >= 0 and find_constant(graph, t) is None]


def list_sides(graph: Graph, *, merge: bool) -> list[Side]:
    """List the layers of a network.

    Args:
        graph: The network.
        merge: Whether what a converter may have written apart belongs to the layer before it.
    """
    sides, taken = list[Side](), set[int]()
    for op in graph.ops:
        if op.kind in PASSING or op.index in taken or not _is_used(graph, op):
            continue
        if all(find_constant(graph, t) is not None for t in op.inputs if t >= 0):
            continue  # computed from constants alone
        side = _merge(graph, op) if merge else _make(op, op)
        taken.update(range(op.index, side.last + 1))
        sides.append(side)
    return sides


def list_keys(graph: Graph, sides: Sequence[Side], *, widths: bool = True) -> list[tuple[Any, ...]]:
    """Return what has to be equal of two layers.

    Args:
        graph: Their network.
        sides: The layers.
        widths: Whether numbers of channels count.
    """
    keys = []
    for side in sides:
        shape, weights = graph.tensors[side.output].shape[1:], tuple[int, ...]()
        if side.op.kind in WEIGHTED and not side.expanded:
            found = find_constant(graph, side.op.inputs[1])
            weights = found.shape if found else ()
        if not widths:
            shape, weights = shape[:-1], weights[1:-1]
        keys.append((*_name_kind(graph, side), shape, weights))
    return keys


def _name_kind(graph: Graph, side: Side) -> tuple[str, str]:
    """Return what a layer computes, and its function if it is an activation."""
    if side.expanded:
        return str(OpKind.ACTIVATION), SWISH
    if _is_mean(graph, side.op):
        return _MEAN, ""
    function = side.op.attributes.get("activation") if side.op.kind is OpKind.ACTIVATION else ""
    return str(side.op.kind), str(function)


def _is_mean(graph: Graph, op: Op) -> bool:
    """Whether it averages a whole feature map, as a pool or as a mean."""
    shapes = [graph.tensors[t].shape for t in (op.inputs[0], op.outputs[0])]
    if [len(shape) for shape in shapes] != [_IMAGE_RANK] * 2 or shapes[1][1:3] != (1, 1):
        return False
    if op.kind is OpKind.AVERAGE_POOL:
        return bool(tuple(op.attributes.get("kernel", ())) == shapes[0][1:3])
    attributes = op.attributes
    return attributes.get("reduction") == "mean" and tuple(attributes.get("axes", ())) == (1, 2)


def _make(op: Op, closing: Op, *, factor: float = 1.0, expanded: bool = False) -> Side:
    output = closing.outputs[0]
    return Side(op=op, last=closing.index, output=output, factor=factor, expanded=expanded)


def _merge(graph: Graph, op: Op) -> Side:
    product = _find_product(graph, op)
    if product is not None:
        return _make(op, product, expanded=True)
    closing = _find_activation(graph, op) or op
    following = _get_next(graph, closing)
    factor = None if following is None else _read_factor(graph, following)
    if following is None or factor is None:
        return _make(op, closing)
    return _make(op, following, factor=factor)


def _is_used(graph: Graph, op: Op) -> bool:
    return any(t in graph.consumers or t in graph.outputs for t in op.outputs[:1])


def _get_next(graph: Graph, op: Op) -> Op | None:
    """Return the operation right behind, if nobody else reads what this one writes."""
    if graph.consumers.get(op.outputs[0], ()) != (op.index + 1,) or op.outputs[0] in graph.outputs:
        return None
    return graph.ops[op.index + 1]


def _find_activation(graph: Graph, op: Op) -> Op | None:
    """Return the ReLU right behind an operation that has none fused."""
    following = None if op.attributes.get("activation") else _get_next(graph, op)
    # The next layer may have a ReLU fused: that one is no part of this layer.
    if following is None or following.kind is not OpKind.ACTIVATION:
        return None
    return following if following.attributes.get("activation") in ("relu", "relu6") else None


def _read_factor(graph: Graph, op: Op) -> float | None:
    """Return the positive constant that an operation multiplies with; ``None`` for others."""
    if op.kind is not OpKind.MUL or op.attributes.get("activation") not in _LINEAR:
        return None
    for index in op.inputs:
        tensor = find_constant(graph, index)
        if tensor is not None and tensor.data is not None and tensor.data.size == 1:
            value = float(dequantize_tensor(tensor.data, tensor.quantization).reshape(-1)[0])
            return value if value > 0 else None
    return None


def _find_product(graph: Graph, op: Op) -> Op | None:
    """Return the product that ends a hard-swish which begins with an operation."""
    if not _is_channel_layer(graph, op):
        return None
    source = trace_back(graph, op.inputs[0])
    behind = graph.ops[op.index + 1 : op.index + 3]
    if op.attributes.get("activation") == "relu6":
        gate, product, other = op, behind[0] if behind else None, source
    else:  # a layer of its own makes the other factor
        gate, product = (behind[0], behind[1]) if len(behind) == 2 else (op, None)
        other = op.outputs[0]
        if not _is_channel_layer(graph, gate) or trace_back(graph, gate.inputs[0]) != source:
            return None
    if product is None or product.name != "MUL" or gate.attributes.get("activation") != "relu6":
        return None
    read = sorted(trace_back(graph, t) for t in product.inputs)
    return product if read == sorted((gate.outputs[0], other)) else None


def _is_channel_layer(graph: Graph, op: Op) -> bool:
    """Whether an operation scales and shifts every channel by itself."""
    if op.kind is not OpKind.DEPTHWISE_CONV_2D:
        return False
    weights = find_constant(graph, op.inputs[1])
    channels = graph.tensors[op.inputs[0]].shape[-1]
    return weights is not None and weights.shape == (1, 1, 1, channels)
