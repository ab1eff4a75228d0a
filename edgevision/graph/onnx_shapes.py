"""Shapes of every tensor in an ONNX model, by ONNX's own inference at batch 1.

The weights are left out of what is inferred (their shapes are enough), so that a large model
costs no more than a small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgevision.backends import import_backend
from edgevision.graph.onnx_tables import DTYPES, STAND_INS

TypeInfo = tuple[tuple[int, ...], str]

# Shapes, axes and the like are smaller than this; their values steer the inference.
_MAX_VALUES = 1024


def infer_types(model: Any) -> dict[str, TypeInfo]:
    """Find shape and element type of every tensor of the main graph.

    Args:
        model: The ``ModelProto``; it is not changed.

    Returns:
        By tensor name; what can not be inferred is as the file declares it, or absent.
    """
    declared = (*model.graph.input, *model.graph.value_info, *model.graph.output)
    found = {v.name: _read_known(v.type) for v in declared}
    onnx = import_backend("onnx")
    light = _strip_model(onnx, model)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        inferred = light
    graph = inferred.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        info = read_type(value.type)
        if info is not None and (info[0] or not found.get(value.name)):
            found[value.name] = info
    return {name: info for name, info in found.items() if info is not None}


def read_type(value_type: Any) -> TypeInfo | None:
    """Read a ``TypeProto``: -1 for a dynamic dimension, ``None`` for no tensor or no rank."""
    tensor = value_type.tensor_type
    if not tensor.HasField("shape"):
        return None
    shape = tuple(
        # Some exporters write 0 for "any size".
        int(d.dim_value) if d.dim_value > 0 else -1
        for d in tensor.shape.dim
    )
    return shape, DTYPES.get(tensor.elem_type, "float32")


def _read_known(value_type: Any) -> TypeInfo | None:
    info = read_type(value_type)
    if info is None or not info[0] or info[0][0] >= 0:
        return info
    return (1, *info[0][1:]), info[1]


def _strip_model(onnx: Any, model: Any) -> Any:
    """Copy the model without its large constants and with every batch of 1."""
    light = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph, source = light.graph, model.graph
    graph.name = source.name or "main"
    graph.node.extend(_stand_in(onnx, node) for node in source.node)
    constants = {t.name for t in source.initializer}
    graph.input.extend(_fix_batch(onnx, v) for v in source.input if v.name not in constants)
    _add_constants(onnx, graph, source.initializer)
    graph.value_info.extend(
        _fix_batch(onnx, v) for v in source.value_info if _is_static(_read_known(v.type))
    )
    for value in source.output:
        # Declared output shapes are often symbolic or stale: infer them anew.
        output = graph.output.add(name=value.name)
        output.type.tensor_type.elem_type = value.type.tensor_type.elem_type
    return light


def _add_constants(onnx: Any, graph: Any, initializers: Sequence[Any]) -> None:
    for tensor in initializers:
        size = 1
        for dim in tensor.dims:
            size *= dim
        if size <= _MAX_VALUES and tensor.data_location != 1:
            graph.initializer.append(tensor)
        else:
            make = onnx.helper.make_tensor_value_info
            graph.input.append(make(tensor.name, tensor.data_type, list(tensor.dims)))


def _is_static(info: TypeInfo | None) -> bool:
    return info is not None and all(d >= 0 for d in info[0])


def _fix_batch(onnx: Any, value: Any) -> Any:
    """Copy a declaration, a symbolic leading dimension replaced by 1."""
    fixed = onnx.ValueInfoProto()
    fixed.CopyFrom(value)
    dims = fixed.type.tensor_type.shape.dim if fixed.type.HasField("tensor_type") else ()
    if dims and dims[0].dim_value <= 0:
        dims[0].dim_value = 1
    return fixed


def _stand_in(onnx: Any, node: Any) -> Any:
    """Replace a contributed operator by a standard one whose result has the same shape."""
    if node.domain != "com.microsoft" or node.op_type not in STAND_INS:
        return node
    name, operands = STAND_INS[node.op_type]
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.domain, copy.op_type = "", name
    del copy.input[:]
    copy.input.extend(list(node.input)[operands])
    return copy
