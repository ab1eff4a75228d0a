"""An ONNX network in the terms of TFLite, so that one set of float steps and repairs serves both.

ONNX keeps channels first, weights as (output, input, height, width), and activations apart. Here
weights are turned, the activation behind a layer belongs to it, as the engine joins them too, and
feature maps are described with channels last. Tensors keep their indices and names, operations the
name of their node as ``label``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.onnx import read_onnx_model
from edgevision.graph.ops import OpKind
from edgevision.quantization.layers import CONVOLUTIONS

Array = np.ndarray[Any, Any]

_IMAGE_RANK, _DENSE_RANK = 4, 2
_FUSED = ("relu", "relu6")
_DENSE = ("Gemm", "MatMul")
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_STORED = ("float32", "int8", "uint8")
# Operations with channels in front, and those that leave the order of axes as it is.
_POOLS = (OpKind.MAX_POOL, OpKind.AVERAGE_POOL, OpKind.GLOBAL_POOL)
_CHANNELS_FIRST = (*CONVOLUTIONS, OpKind.TRANSPOSE_CONV_2D, *_POOLS)
_KEEPING = (
    *(OpKind.ADD, OpKind.SUB, OpKind.MUL, OpKind.DIV, OpKind.ACTIVATION, OpKind.ELEMENTWISE),
    *(OpKind.CONCAT, OpKind.SPLIT, OpKind.PAD, OpKind.RESIZE, OpKind.SOFTMAX, OpKind.BATCH_NORM),
    *(OpKind.QUANTIZE, OpKind.DEQUANTIZE),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """An ONNX network in TFLite's terms.

    Attributes:
        graph: The network.
        turned: Activations that it describes with channels last, and ONNX keeps first.
    """

    graph: Graph
    turned: frozenset[int]

    def turn(self, tensor: int, values: Array) -> Array:
        """Bring (…, C, H, W) values of a tensor into the form of the view: channels last."""
        return np.moveaxis(values, -3, -1) if tensor in self.turned else values

    def restore(self, tensor: int, values: Array) -> Array:
        """Undo ``turn``."""
        return np.moveaxis(values, -1, -3) if tensor in self.turned else values


def view_onnx(model: Any) -> View:
    """Read a model in TFLite's terms.

    Args:
        model: ``ModelProto``.

    Returns:
        The view. Layers with weights that can not be brought into the form are ``OTHER``.
    """
    return view_graph(read_onnx_model(model))


def view_graph(graph: Graph) -> View:
    """Bring the graph of an ONNX model into TFLite's terms; see ``view_onnx``."""
    fused = dict(_find_activations(graph))
    gone = {activation.index for activation in fused.values()}
    turned = _find_turned(graph)
    ops = list[Op]()
    tensors = {t: _turn_shape(graph.tensors[t]) for t in turned}
    for op in graph.ops:
        if op.index not in gone:
            ops.append(_view_op(graph, op, fused.get(op.index), turned=turned, index=len(ops)))
    for op in ops:
        if op.kind in (*CONVOLUTIONS, OpKind.FULLY_CONNECTED):
            weights = graph.tensors[op.inputs[1]]
            tensors[weights.index] = _turn_tensor(op, weights)
    viewed = replace(
        graph,
        tensors=tuple(tensors.get(t.index, t) for t in graph.tensors),
        ops=tuple(ops),
    )
    return View(graph=viewed, turned=turned)


def turn_weights(op: Op, weights: Array) -> Array:
    """Bring the weights of a layer from the form of ONNX into that of TFLite.

    >>> conv = Op(0, OpKind.CONV_2D, "Conv", (0, 1), (2,))
    >>> turn_weights(conv, np.zeros((8, 3, 5, 6))).shape
    (8, 5, 6, 3)
    """
    if weights.ndim == _IMAGE_RANK:
        turned = weights.transpose(_TO_LAST)
        if op.kind is OpKind.DEPTHWISE_CONV_2D:
            turned = turned.transpose(3, 1, 2, 0)
        return np.ascontiguousarray(turned)
    return np.ascontiguousarray(weights if _stores_rows(op) else weights.T)


def restore_weights(op: Op, weights: Array) -> Array:
    """Undo ``turn_weights``."""
    if weights.ndim == _IMAGE_RANK:
        if op.kind is OpKind.DEPTHWISE_CONV_2D:
            weights = weights.transpose(3, 1, 2, 0)
        return np.ascontiguousarray(weights.transpose(_TO_FIRST))
    return np.ascontiguousarray(weights if _stores_rows(op) else weights.T)


def restore_constant(graph: Graph, tensor: int, values: Array) -> Array:
    """Bring a constant of a view into the form of ONNX.

    Args:
        graph: Of the view.
        tensor: Index of the constant.
        values: In the form of the view.
    """
    for op in (graph.ops[index] for index in graph.consumers[tensor]):
        if op.kind in (*CONVOLUTIONS, OpKind.FULLY_CONNECTED) and op.inputs[1] == tensor:
            return restore_weights(op, values)
    return values


def _find_activations(graph: Graph) -> Iterator[tuple[int, Op]]:
    """Yield layers by index, each with the activation that alone reads it."""
    for op in graph.ops:
        if _find_kind(graph, op) is None or op.outputs[0] in graph.outputs:
            continue
        readers = graph.consumers.get(op.outputs[0], ())
        reader = graph.ops[readers[0]] if len(readers) == 1 else None
        if reader is None or reader.kind is not OpKind.ACTIVATION:
            continue
        if reader.attributes.get("activation") in _FUSED and reader.inputs[0] == op.outputs[0]:
            yield op.index, reader


def _find_turned(graph: Graph) -> frozenset[int]:
    """Find the feature maps with channels in front: around convolutions, as far as axes stay."""
    found = set[int]()
    seeds = (op for op in graph.ops if op.kind in _CHANNELS_FIRST)
    pending = [t for op in seeds for t in _list_maps(graph, op)]
    while pending:
        tensor = pending.pop()
        if tensor in found:
            continue
        found.add(tensor)
        touching = [*graph.consumers.get(tensor, ()), graph.producers.get(tensor, -1)]
        ops = (graph.ops[index] for index in touching if index >= 0)
        pending.extend(t for op in ops if op.kind in _KEEPING for t in _list_maps(graph, op))
    return frozenset(found)


def _list_maps(graph: Graph, op: Op) -> list[int]:
    """List the feature maps that an operation reads and writes."""
    tensors = (graph.tensors[t] for t in (*op.inputs, *op.outputs) if t >= 0)
    return [t.index for t in tensors if len(t.shape) == _IMAGE_RANK and not t.constant]


def _view_op(
    graph: Graph, op: Op, activation: Op | None, *, turned: frozenset[int], index: int
) -> Op:
    kind = _find_kind(graph, op)
    attributes = dict(op.attributes)
    axis = attributes.get("axis", -1 if op.kind is OpKind.SOFTMAX else None)
    if op.outputs[0] in turned and axis is not None:
        attributes["axis"] = _TO_FIRST[axis % _IMAGE_RANK]
    if kind is None:
        weighted = op.kind in (*CONVOLUTIONS, OpKind.FULLY_CONNECTED)
        kind = OpKind.OTHER if weighted else op.kind
    if activation is not None:
        attributes["activation"] = activation.attributes["activation"]
    if kind is OpKind.DEPTHWISE_CONV_2D:
        weights = graph.tensors[op.inputs[1]]
        attributes["depth_multiplier"] = weights.shape[0] // int(attributes["groups"])
    outputs = op.outputs if activation is None else activation.outputs
    return replace(op, index=index, kind=kind, outputs=outputs, attributes=attributes)


def _turn_shape(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=tuple(tensor.shape[axis] for axis in _TO_LAST))


def _turn_tensor(op: Op, weights: Tensor) -> Tensor:
    """Return the weights of a layer as TFLite stores them."""
    data = turn_weights(op, np.asarray(weights.data))
    quantization = weights.quantization
    if quantization is not None and quantization.axis is not None:
        axis = 3 if op.kind is OpKind.DEPTHWISE_CONV_2D else 0
        quantization = replace(quantization, axis=axis)
    return replace(weights, data=data, shape=data.shape, quantization=quantization)


def _find_kind(graph: Graph, op: Op) -> OpKind | None:
    """Return what a layer is in TFLite's terms; ``None`` for what is none of its layers."""
    if op.name not in ("Conv", *_DENSE) or len(op.inputs) < 2:
        return None
    weights = graph.tensors[op.inputs[1]]
    rank = _IMAGE_RANK if op.name == "Conv" else _DENSE_RANK
    if weights.data is None or weights.dtype not in _STORED or len(weights.shape) != rank:
        return None
    readers = [graph.ops[index] for index in graph.consumers[weights.index]]
    if any(
        _find_form(reader, weights.index) != _find_form(op, weights.index) for reader in readers
    ):
        return None
    if op.name == "Conv":
        return op.kind
    if len(op.inputs) > 2 and graph.tensors[op.inputs[2]].size != weights.size // _count_read(
        op, weights
    ):
        return None  # one bias for all outputs
    plain = all(op.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return OpKind.FULLY_CONNECTED if plain and not op.attributes.get("transpose_a") else None


def _find_form(op: Op, weights: int) -> tuple[Any, ...]:
    """Return what decides how the weights of an operation are turned."""
    return (op.name, op.kind, _stores_rows(op), op.inputs.index(weights))


def _count_read(op: Op, weights: Tensor) -> int:
    """Return how many values a dense layer multiplies for each output."""
    return weights.shape[1 if _stores_rows(op) else 0]


def _stores_rows(op: Op) -> bool:
    """Whether a dense layer stores its weights as (output, input)."""
    return bool(op.attributes.get("transpose_b"))
