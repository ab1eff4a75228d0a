"""An ONNX network in the terms of TFLite, so that one set of float steps and repairs serves both.

ONNX keeps channels first, weights as (output, input, height, width), and activations apart. Here
weights are turned, the activation behind a layer belongs to it, as the engine joins them too, and
what convolutions read and write is described with channels last. Tensors keep their indices and
names, operations the name of their node as ``label``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
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


def view_onnx(model: Any) -> Graph:
    """Read a float model in TFLite's terms.

    Args:
        model: ``ModelProto``, from ``normalize_onnx``.

    Returns:
        The graph. Layers with weights that can not be brought into the form are ``OTHER``.
    """
    graph = read_onnx_model(model)
    fused = dict(_find_activations(graph))
    gone = {activation.index for activation in fused.values()}
    ops = list[Op]()
    tensors = dict[int, Tensor]()
    for op in graph.ops:
        if op.index not in gone:
            ops.append(_view_op(graph, op, fused.get(op.index), len(ops)))
    for op in ops:
        tensors.update(_view_tensors(graph, op))
    return replace(
        graph,
        tensors=tuple(tensors.get(t.index, t) for t in graph.tensors),
        ops=tuple(ops),
    )


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


def turn_values(values: Array) -> Array:
    """Bring feature maps, (…, C, H, W), into the form of TFLite: channels last."""
    return np.moveaxis(values, -3, -1)


def is_turned(graph: Graph, tensor: int) -> bool:
    """Whether a view describes an activation with channels last that ONNX keeps first."""
    touching = (*graph.consumers.get(tensor, ()), graph.producers.get(tensor, -1))
    ops = (graph.ops[index] for index in touching if index >= 0)
    return any(_is_image_layer(op) and tensor in (op.inputs[0], *op.outputs) for op in ops)


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


def _view_op(graph: Graph, op: Op, activation: Op | None, index: int) -> Op:
    kind = _find_kind(graph, op)
    outputs = op.outputs if activation is None else activation.outputs
    if kind is None:
        other = _is_weighted(op)
        return _renew(op, index, kind=OpKind.OTHER if other else op.kind, outputs=outputs)
    attributes = dict(op.attributes)
    if activation is not None:
        attributes["activation"] = activation.attributes["activation"]
    if kind is OpKind.DEPTHWISE_CONV_2D:
        weights = graph.tensors[op.inputs[1]]
        attributes["depth_multiplier"] = weights.shape[0] // int(attributes["groups"])
    return _renew(op, index, kind=kind, outputs=outputs, attributes=attributes)


def _renew(
    op: Op,
    index: int,
    *,
    kind: OpKind,
    outputs: tuple[int, ...],
    attributes: Mapping[str, Any] | None = None,
) -> Op:
    return Op(
        index=index,
        kind=kind,
        name=op.name,
        inputs=op.inputs,
        outputs=outputs,
        attributes=op.attributes if attributes is None else attributes,
        label=op.label,
    )


def _view_tensors(graph: Graph, op: Op) -> Iterator[tuple[int, Tensor]]:
    """Yield the tensors of an operation that look otherwise in TFLite's terms."""
    if op.kind is OpKind.FULLY_CONNECTED or _is_image_layer(op):
        weights = graph.tensors[op.inputs[1]]
        if weights.data is not None:
            yield weights.index, _renew_tensor(weights, data=turn_weights(op, weights.data))
    if not _is_image_layer(op):
        return
    for tensor in (graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]):
        if len(tensor.shape) == _IMAGE_RANK:
            shape = tuple(tensor.shape[axis] for axis in _TO_LAST)
            yield tensor.index, _renew_tensor(tensor, shape=shape)


def _renew_tensor(
    tensor: Tensor, *, data: Array | None = None, shape: tuple[int, ...] = ()
) -> Tensor:
    return Tensor(
        index=tensor.index,
        name=tensor.name,
        shape=shape or (tensor.shape if data is None else data.shape),
        dtype=tensor.dtype,
        data=data,
        constant=tensor.constant,
    )


def _is_weighted(op: Op) -> bool:
    return op.kind in (*CONVOLUTIONS, OpKind.FULLY_CONNECTED)


def _is_image_layer(op: Op) -> bool:
    return op.kind in CONVOLUTIONS


def _find_kind(graph: Graph, op: Op) -> OpKind | None:
    """Return what a layer is in TFLite's terms; ``None`` for what is none of its layers."""
    if op.name not in ("Conv", *_DENSE) or len(op.inputs) < 2:
        return None
    weights = graph.tensors[op.inputs[1]]
    rank = _IMAGE_RANK if op.name == "Conv" else _DENSE_RANK
    if weights.data is None or weights.dtype != "float32" or len(weights.shape) != rank:
        return None
    readers = [graph.ops[index] for index in graph.consumers[weights.index]]
    if any(
        _find_form(reader, weights.index) != _find_form(op, weights.index) for reader in readers
    ):
        return None
    if op.name == "Conv":
        return op.kind
    plain = all(op.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return OpKind.FULLY_CONNECTED if plain and not op.attributes.get("transpose_a") else None


def _find_form(op: Op, weights: int) -> tuple[Any, ...]:
    """Return what decides how the weights of an operation are turned."""
    return (op.name, op.kind, _stores_rows(op), op.inputs.index(weights))


def _stores_rows(op: Op) -> bool:
    """Whether a dense layer stores its weights as (output, input)."""
    return bool(op.attributes.get("transpose_b"))
