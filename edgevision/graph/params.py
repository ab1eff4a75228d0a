"""Parameters of a ``Graph``: what is a weight, and how many elements the weights have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat

# Operations that hand a constant on: the weight is what stands before them.
_FORWARDING = frozenset(
    {OpKind.DEQUANTIZE, OpKind.QUANTIZE, OpKind.CAST, OpKind.RESHAPE, OpKind.TRANSPOSE}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParamCount:
    """Parameters of one graph.

    Attributes:
        total: Elements of all weights, each shared one counted once.
        trainable: Those that training changes; ``None`` for a deployed file, which does not say.
        per_op: Elements by index of the operation that reads them first.
    """

    total: int
    trainable: int | None
    per_op: Mapping[int, int]


def count_params(graph: Graph) -> ParamCount:
    """Count parameters.

    For a network or Keras model every weight counts, BatchNorm statistics included. For a
    deployed file the constant weights count: kernels and biases of convolutions and matrix
    products (through DEQUANTIZE and the like), BatchNorm vectors, PReLU slopes, recurrent
    weights, embedding tables, and constants of more than one element that are added or
    multiplied. Shapes, axes, paddings, anchors, scales and zero points are not weights.
    """
    deployed = graph.format in (ModelFormat.TFLITE, ModelFormat.ONNX)
    weights = _collect_weights(graph).values() if deployed else graph.constants
    left = {t.index: t.size for t in weights}
    total = sum(left.values())
    trainable = sum(left[t.index] for t in weights if t.trainable)
    per_op = {}
    # What is left over is read by no operation, but is still part of a Keras model.
    for op in graph.ops:
        size = 0
        for index in op.inputs:
            size += left.pop(_trace_constant(graph, index) if deployed else index, 0)
        if size:
            per_op[op.index] = size
    return ParamCount(total=total, trainable=None if deployed else trainable, per_op=per_op)


def find_unpacking(graph: Graph) -> frozenset[int]:
    """Find the operations that only unpack stored weights: ``DEQUANTIZE`` of a constant.

    Delegates take them for part of the weight and do their work once.
    """
    return frozenset(
        op.index
        for op in graph.ops
        if op.kind is OpKind.DEQUANTIZE and all(t.constant for t in graph.op_inputs(op))
    )


# Positions of the inputs that hold weights, by kind; None means every constant input.
_WEIGHT_POSITIONS: Mapping[OpKind, tuple[int, ...] | None] = {
    OpKind.CONV_2D: (1, 2),
    OpKind.DEPTHWISE_CONV_2D: (1, 2),
    OpKind.CONV_3D: (1, 2),
    OpKind.TRANSPOSE_CONV_2D: (1, 2),
    OpKind.FULLY_CONNECTED: (1, 2),
    OpKind.MATMUL: (0, 1),
    OpKind.BATCH_NORM: (1, 2, 3, 4),
    OpKind.LSTM: None,
    OpKind.GATHER: (0,),
    OpKind.ADD: (0, 1),
    OpKind.SUB: (0, 1),
    OpKind.MUL: (0, 1),
    OpKind.DIV: (0, 1),
}
_WEIGHT_POSITIONS_BY_NAME: Mapping[str, tuple[int, ...]] = {
    "TRANSPOSE_CONV": (1, 3),
    "CONV_3D_TRANSPOSE": (1, 3),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QGemm": (3, 6),
    "ConvInteger": (1,),
    "MatMulInteger": (0, 1),
    "QLinearAdd": (0, 3),
    "QLinearMul": (0, 3),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "GRU": (1, 2, 3),
    "RNN": (1, 2, 3),
    "SVDF": (1, 2, 3),
    "PRELU": (1,),
    "PRelu": (1,),
}
_ARITHMETIC = frozenset({OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.DIV})


def _collect_weights(graph: Graph) -> dict[int, Tensor]:
    return {t.index: t for op in graph.ops for t in _find_weights(graph, op)}


def _find_weights(graph: Graph, op: Op) -> Iterator[Tensor]:
    """Yield the weights that an operation of a deployed file reads."""
    positions = _WEIGHT_POSITIONS_BY_NAME.get(op.name) or _WEIGHT_POSITIONS.get(op.kind, ())
    for position in range(len(op.inputs)) if positions is None else positions:
        if position >= len(op.inputs) or op.inputs[position] < 0:
            continue
        index = _trace_constant(graph, op.inputs[position])
        if index >= 0 and _may_be_weight(op, graph.tensors[index]):
            yield graph.tensors[index]


def _may_be_weight(op: Op, tensor: Tensor) -> bool:
    """Tell weights from shapes, indices and lone factors such as the 1/255 of a rescaling."""
    if tensor.dtype in ("int64", "bool", "string"):
        return False
    if op.kind is OpKind.GATHER or op.kind in _ARITHMETIC:
        return tensor.dtype != "int32" and tensor.size > 1
    return True


def _trace_constant(graph: Graph, index: int) -> int:
    """Follow a tensor back to the constant it is made of; -1 for an activation."""
    while index >= 0 and not graph.tensors[index].constant:
        producer = graph.producers.get(index)
        if producer is None or graph.ops[producer].kind not in _FORWARDING:
            return -1
        index = graph.ops[producer].inputs[0]
    return index
