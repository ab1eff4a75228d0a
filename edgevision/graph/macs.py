"""Multiply-accumulates of a ``Graph``, whatever format it came from.

Counted are convolutions, depthwise and transposed convolutions and matrix products, one pure
function per kind in ``COUNTERS``. Nothing else is counted, and what is not counted is listed
beside the total. All numbers are Python integers: products of int32 shapes overflow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from edgevision.errors import InvalidModelError
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind

# Positions of (data, weights) among the inputs, where they are not the first two.
_OPERANDS: Mapping[str, tuple[int, int]] = {
    "TRANSPOSE_CONV": (2, 1),
    "CONV_3D_TRANSPOSE": (2, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3),
}
# Between a convolution in block space and the way back, only these may stand.
_POINTWISE = frozenset(
    {OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.ACTIVATION, OpKind.BATCH_NORM, OpKind.QUANTIZE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MacCount:
    """Multiply-accumulates of one graph at batch 1.

    Attributes:
        total: Sum over all counted operations.
        per_op: Count by operation index; only counted operations are in it.
        uncounted: How many operations of each name were not counted.
    """

    total: int
    per_op: Mapping[int, int]
    uncounted: Mapping[str, int]


def count_macs(graph: Graph) -> MacCount:
    """Count multiply-accumulates of the main graph.

    Bodies of control flow are not counted; the operation that runs them is listed as uncounted.

    Args:
        graph: From any reader; dynamic dimensions count as 1.

    Raises:
        InvalidModelError: A counted operation has no known shapes.
    """
    per_op: dict[int, int] = {}
    uncounted: Counter[str] = Counter()
    for op in graph.ops:
        counter = COUNTERS.get(op.kind)
        macs = counter(graph, op) if counter is not None else None
        if macs is None:
            uncounted[op.name] += 1
        else:
            per_op[op.index] = macs
    return MacCount(total=sum(per_op.values()), per_op=per_op, uncounted=dict(uncounted))


def count_convolution(graph: Graph, op: Op) -> int:
    """Every weight is used once at each output position, groups and depthwise included."""
    _, weights = _operands(graph, op)
    output = _find_block_output(graph, op) or graph.tensors[op.outputs[0]]
    return weights.size * _count_positions(op, output)


def count_transposed_convolution(graph: Graph, op: Op) -> int:
    """Every weight is used once at each *input* position."""
    data, weights = _operands(graph, op)
    return weights.size * _count_positions(op, data)


def count_fully_connected(graph: Graph, op: Op) -> int:
    """Every weight is used once per row."""
    _, weights = _operands(graph, op)
    output = graph.tensors[op.outputs[0]]
    return weights.size * (output.size // max(_known_shape(op, output)[-1], 1))


def count_matrix_product(graph: Graph, op: Op) -> int | None:
    """Each output element sums over the contracted dimensions; ``None`` for odd equations."""
    left, right = _operands(graph, op)
    output = graph.tensors[op.outputs[0]]
    equation = op.attributes.get("equation")
    if equation is not None:
        return _count_einsum(equation, left, right, output)
    shape = _known_shape(op, left)
    contracted = shape[-2] if op.attributes.get("transpose_a") and len(shape) > 1 else shape[-1]
    return output.size * max(contracted, 1)


COUNTERS: Mapping[OpKind, Callable[[Graph, Op], int | None]] = {
    OpKind.CONV_2D: count_convolution,
    OpKind.DEPTHWISE_CONV_2D: count_convolution,
    OpKind.CONV_3D: count_convolution,
    OpKind.TRANSPOSE_CONV_2D: count_transposed_convolution,
    OpKind.FULLY_CONNECTED: count_fully_connected,
    OpKind.MATMUL: count_matrix_product,
}


def _operands(graph: Graph, op: Op) -> tuple[Tensor, Tensor]:
    first, second = _OPERANDS.get(op.name, (0, 1))
    if len(op.inputs) <= max(first, second) or min(op.inputs[first], op.inputs[second]) < 0:
        raise InvalidModelError(
            "a convolution or matrix product lacks its operands", received=_describe(op)
        )
    return graph.tensors[op.inputs[first]], graph.tensors[op.inputs[second]]


def _count_positions(op: Op, tensor: Tensor) -> int:
    """Count the places of a feature map, its channels left out."""
    axis: int = op.attributes.get("channel_axis", -1)
    return tensor.size // max(_known_shape(op, tensor)[axis], 1)


def _known_shape(op: Op, tensor: Tensor) -> tuple[int, ...]:
    if not tensor.shape:
        raise InvalidModelError(
            "the shape of a feature map is not known, so nothing can be counted",
            received=_describe(op),
            remedy="export the model with static shapes",
        )
    return tensor.shape


def _find_block_output(graph: Graph, op: Op) -> Tensor | None:
    """Find the result of a dilated convolution that was written with SPACE_TO_BATCH_ND.

    In block space the feature map is padded to whole blocks; what counts, as in the network that
    was converted, is the map after the way back.
    """
    producer = graph.producers.get(op.inputs[0]) if op.name.endswith("CONV_2D") else None
    if producer is None or graph.ops[producer].name != "SPACE_TO_BATCH_ND":
        return None
    current = op
    while True:
        readers = graph.consumers.get(current.outputs[0], ())
        if len(readers) != 1:
            return None
        current = graph.ops[readers[0]]
        if current.name == "BATCH_TO_SPACE_ND":
            return graph.tensors[current.outputs[0]]
        if current.kind not in _POINTWISE:
            return None


def _count_einsum(equation: str, left: Tensor, right: Tensor, output: Tensor) -> int | None:
    """Count a two-operand einsum, such as ``"...ij,jk->...ik"``; ``None`` for other forms."""
    terms, _, result = equation.replace(" ", "").partition("->")
    operands = terms.split(",")
    if len(operands) != 2 or not result:
        return None
    sizes: dict[str, int] = {}
    for term, tensor in zip(operands, (left, right), strict=True):
        head, dots, tail = term.partition("...")
        rank = len(tensor.shape)
        if len(head) + len(tail) > rank or (not dots and len(head) != rank):
            return None
        sizes.update(zip(head, tensor.shape, strict=False))
        sizes.update(zip(reversed(tail), reversed(tensor.shape), strict=False))
    return output.size * prod(max(n, 1) for label, n in sizes.items() if label not in result)


def _describe(op: Op) -> str:
    return f"op {op.index} {op.name}" + (f" {op.label}" if op.label else "")
