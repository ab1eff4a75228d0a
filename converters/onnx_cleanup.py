"""Tidying an ONNX model: stable names, no leftovers of the exporter, half-precision weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgevision.backends import import_backend

PRODUCER = "edgevision"
_ROLES = {
    "Conv": ("input", "weight", "bias"),
    "ConvTranspose": ("input", "weight", "bias"),
    "Gemm": ("input", "weight", "bias"),
    "Clip": ("input", "min", "max"),
    "Reshape": ("input", "shape"),
}


def clean_model(proto: Any, names: dict[str, str]) -> None:
    """Tidy a model in place.

    Reshapes that change nothing go; every value gets a stable name (exporters number them through
    the life of a process, so that two exports of one model differ); unused opsets go.

    Args:
        proto: An ``onnx.ModelProto`` with static shapes.
        names: New names of inputs and outputs.
    """
    _drop_idle_reshapes(proto)
    _rename_values(proto, names)
    used = {node.domain for node in proto.graph.node} | {""}
    for opset in [o for o in proto.opset_import if o.domain not in used]:
        proto.opset_import.remove(opset)
    proto.graph.name = "main"
    proto.graph.ClearField("doc_string")
    proto.ClearField("doc_string")
    proto.producer_name = PRODUCER
    proto.ClearField("producer_version")


def halve_weights(proto: Any) -> None:
    """Store the float32 weights as float16, each widened by a ``Cast`` that runs at load time.

    Scalars and single values stay: there is nothing to gain, and clip limits must be exact.
    """
    onnx = import_backend("onnx")
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size <= 1:
            continue
        half = f"{tensor.name}_half"
        casts.append(
            onnx.helper.make_node(
                "Cast", [half], [tensor.name], name=f"{tensor.name}_cast", to=onnx.TensorProto.FLOAT
            )
        )
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), half))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*casts, *nodes])


def _drop_idle_reshapes(proto: Any) -> None:
    """Remove every Reshape whose output has the shape of its input."""
    shapes = _infer_shapes(proto)
    outputs = {value.name for value in proto.graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in proto.graph.node:
        _map_names(node.input, lambda name: renamed.get(name, name))
        idle = node.op_type == "Reshape" and node.output[0] not in outputs
        if idle and shapes.get(node.input[0], ()) == shapes.get(node.output[0]):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    _drop_unused_weights(proto)


def _infer_shapes(proto: Any) -> dict[str, tuple[int, ...]]:
    """Return the static shape of each value that has one."""
    graph = import_backend("onnx").shape_inference.infer_shapes(proto).graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _drop_unused_weights(proto: Any) -> None:
    used = {name for node in proto.graph.node for name in node.input}
    used |= {value.name for value in proto.graph.output}
    for tensor in [t for t in proto.graph.initializer if t.name not in used]:
        proto.graph.initializer.remove(tensor)


def _rename_values(proto: Any, names: dict[str, str]) -> None:
    """Name nodes by their operation, values by their node, weights by the node that reads them."""
    graph = proto.graph
    del graph.value_info[:]
    stable = {"": ""}  # an optional input that is absent
    for value in (*graph.input, *graph.output):
        stable.setdefault(value.name, names.get(value.name, value.name))
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{index}"
        node.ClearField("doc_string")
        _name_weights(node, stable)
        for position, name in enumerate(node.output):
            stable.setdefault(name, f"{node.name}.{position}" if position else node.name)
    for node in graph.node:
        _map_names(node.input, stable.__getitem__)
        _map_names(node.output, stable.__getitem__)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = stable.get(value.name, value.name)
    _sort_weights(graph, {name: place for place, name in enumerate(stable.values())})


def _name_weights(node: Any, stable: dict[str, str]) -> None:
    """Name what no earlier node made: weights, since nodes stand in execution order."""
    roles = _ROLES.get(node.op_type, ())
    for position, name in enumerate(node.input):
        role = roles[position] if position < len(roles) else f"input{position}"
        stable.setdefault(name, f"{node.name}.{role}")


def _sort_weights(graph: Any, order: dict[str, int]) -> None:
    weights = sorted(graph.initializer, key=lambda tensor: order.get(tensor.name, len(order)))
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in weights]
    del graph.initializer[:]
    graph.initializer.extend(copies)


def _map_names(names: Any, change: Callable[[str], str]) -> None:
    for position, name in enumerate(names):
        names[position] = change(name)
