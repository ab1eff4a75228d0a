"""Reads ``.onnx`` files into the ``Graph``, through the ``onnx`` package.

Shapes come from ONNX's own shape inference at batch 1: a symbolic leading dimension of an input
counts as 1. Only the input itself keeps -1 there, so that a reader can see that it was dynamic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.onnx_attributes import find_weights, is_depthwise, normalize_attributes
from edgevision.graph.onnx_constants import locate_external, read_constant
from edgevision.graph.onnx_shapes import TypeInfo, infer_types, read_type
from edgevision.graph.onnx_tables import DTYPES, KINDS, QUANTIZED
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat, Quantization

_STANDARD_DOMAINS = ("", "ai.onnx")
_CONV_KINDS = {3: OpKind.CONV_2D, 4: OpKind.CONV_2D, 5: OpKind.CONV_3D}


def read_onnx(path: str | Path) -> Graph:
    """Read an ``.onnx`` model.

    Args:
        path: The file; external data are expected beside it, as the format demands.

    Returns:
        The main graph; bodies of control flow are its ``subgraphs``. ``Constant`` nodes become
        constant tensors; initializers that the file also lists as inputs are constants only.

    Raises:
        MissingFileError: There is no such file, or its external data are missing.
        InvalidModelError: It is not an ONNX model, or is damaged.
        BackendUnavailableError: The ``onnx`` package is not installed.
    """
    source = Path(path)
    model = _load_model(source)
    external = {
        locate_external(t, source.parent) for t in model.graph.initializer if t.data_location == 1
    }
    size = source.stat().st_size + sum(p.stat().st_size for p in external)
    try:
        return read_onnx_model(model, name=source.stem, folder=source.parent, file_bytes=size)
    except (UnicodeDecodeError, IndexError, OverflowError) as error:
        # Damage that leaves a readable message behind, such as a name that is no text.
        raise InvalidModelError(
            "the ONNX model is damaged",
            received=f"{source}: {error}",
            remedy="copy or export it again",
        ) from error


def read_onnx_model(
    model: Any, *, name: str = "", folder: Path = Path(), file_bytes: int = 0
) -> Graph:
    """Read a model that is in memory.

    Args:
        model: ``ModelProto``.
        name: Of the graph.
        folder: Where external data lie, if it has some.
        file_bytes: Size of the file it came from.

    Raises:
        InvalidModelError: It is damaged.
    """
    reader = _Reader(folder, infer_types(model))
    return reader.read(model.graph, name=name, file_bytes=file_bytes)


def _load_model(source: Path) -> Any:
    """Parse the file without its external data, and refuse what is not a model."""
    if not source.is_file():
        raise MissingFileError(
            "there is no such model file", received=source, remedy="check the path"
        )
    onnx = import_backend("onnx")
    message = import_backend("google.protobuf.message")
    try:
        model = onnx.load_model_from_string(source.read_bytes())
    except (message.DecodeError, ValueError, RuntimeError) as error:
        raise InvalidModelError(
            "not an ONNX model, or cut off",
            received=source,
            remedy="copy or export it again",
        ) from error
    if not model.HasField("graph") or not model.graph.output:
        raise InvalidModelError("not an ONNX model", received=source)
    return model


class _Reader:
    """Reads one graph; the bodies of control flow get readers of their own.

    Args:
        folder: Where external data lie.
        types: Shape and element type by tensor name.
    """

    def __init__(self, folder: Path, types: Mapping[str, TypeInfo]) -> None:
        self._folder = folder
        self._types = types
        self._tensors: list[Tensor] = []
        self._indices: dict[str, int] = {"": -1}
        self._bodies: list[Graph] = []

    def read(self, graph: Any, *, name: str, file_bytes: int = 0, outer: bool = False) -> Graph:
        """Read ``graph``; with ``outer``, unknown names are values of the enclosing graph."""
        constants = {t.name: t for t in graph.initializer}
        constants.update(_find_constant_nodes(graph))
        quantized = self._find_quantization(graph, constants)
        inputs = [self._add_input(v) for v in graph.input if v.name not in constants]
        for key, proto in constants.items():
            self._add_constant(key, proto, quantized.get(key))
        for sparse in graph.sparse_initializer:
            self._add(
                sparse.values.name, (tuple(sparse.dims), _dtype(sparse.values)), constant=True
            )
        ops: list[Op] = []
        for node in graph.node:
            if node.op_type == "Constant" and node.output[0] in self._indices:
                continue
            if outer:
                inputs += [self._add(n, self._types.get(n)) for n in self._find_unknown(node)]
            ops.append(self._read_node(node, len(ops), quantized))
        return Graph(
            name=name,
            tensors=tuple(self._tensors),
            ops=tuple(ops),
            inputs=tuple(inputs),
            outputs=tuple(self._look_up(v.name, "a graph output") for v in graph.output),
            format=ModelFormat.ONNX,
            subgraphs=tuple(self._bodies),
            file_bytes=file_bytes,
        )

    def _add(
        self,
        name: str,
        info: TypeInfo | None,
        *,
        data: np.ndarray[Any, Any] | None = None,
        constant: bool = False,
        quantization: Quantization | None = None,
    ) -> int:
        index = len(self._tensors)
        shape, dtype = info if info is not None else ((), "float32")
        self._tensors.append(
            Tensor(
                index=index,
                name=name,
                shape=shape,
                dtype=dtype,
                data=data,
                constant=constant,
                quantization=quantization,
            )
        )
        self._indices[name] = index
        return index

    def _add_input(self, value: Any) -> int:
        shape, dtype = read_type(value.type) or ((), "float32")
        if shape and shape[0] < 0 and value.name in self._types:
            shape = (-1, *self._types[value.name][0][1:])
        return self._add(value.name, (shape, dtype))

    def _add_constant(self, name: str, proto: Any, quantization: Quantization | None) -> None:
        info = (tuple(int(d) for d in proto.dims), _dtype(proto))
        data = read_constant(proto, self._folder)
        self._add(name, info, data=data, constant=True, quantization=quantization)

    def _look_up(self, name: str, what: str) -> int:
        if name not in self._indices:
            raise InvalidModelError(
                f"{what} is computed nowhere", received=name, remedy="export the model again"
            )
        return self._indices[name]

    def _find_unknown(self, node: Any) -> Iterator[str]:
        return (n for n in dict.fromkeys(node.input) if n not in self._indices)

    def _read_node(self, node: Any, index: int, quantized: Mapping[str, Quantization]) -> Op:
        inputs = tuple(self._look_up(n, f"an input of {node.op_type}") for n in node.input)
        outputs = tuple(
            self._add(n, self._types.get(n), quantization=quantized.get(n)) if n else -1
            for n in node.output
        )
        raw = {a.name: _read_attribute(a) for a in node.attribute if a.type not in _NOT_SETTINGS}
        read = [self._tensors[i] if i >= 0 else None for i in inputs]
        kind = _classify(node, raw, read)
        return Op(
            index=index,
            kind=kind,
            name=_name_op(node),
            inputs=inputs,
            outputs=outputs,
            attributes={
                **normalize_attributes(node.op_type, kind, raw, read),
                **self._read_bodies(node),
            },
            label=node.name,
        )

    def _read_bodies(self, node: Any) -> dict[str, int]:
        """Read the graphs inside a node; return their places among the subgraphs, from 1."""
        places = {}
        for attribute in node.attribute:
            if attribute.type == _GRAPH_ATTRIBUTE:
                types = {**self._types, **_declared_types(attribute.g)}
                body = _Reader(self._folder, types).read(
                    attribute.g, name=attribute.g.name or attribute.name, outer=True
                )
                self._bodies.append(body)
                places[attribute.name] = len(self._bodies)
        return places

    def _find_quantization(
        self, graph: Any, constants: Mapping[str, Any]
    ) -> dict[str, Quantization]:
        """Collect the affine parameters of every tensor whose scale is constant."""
        found: dict[str, Quantization] = {}
        for node in graph.node:
            for value, scale, zero in QUANTIZED.get(node.op_type, ()):
                name = node.output[0] if value < 0 else node.input[value]
                scales = constants.get(node.input[scale]) if scale < len(node.input) else None
                zeros = constants.get(node.input[zero]) if zero < len(node.input) else None
                if scales is not None and name not in found:
                    axis = next((a.i for a in node.attribute if a.name == "axis"), None)
                    found[name] = self._read_quantization(scales, zeros, _axis_of(node, axis))
        return found

    def _read_quantization(self, scales: Any, zeros: Any, axis: int) -> Quantization:
        values = _flatten(read_constant(scales, self._folder))
        offsets = _flatten(read_constant(zeros, self._folder)) if zeros is not None else []
        offsets = offsets if len(offsets) == len(values) else [0] * len(values)
        return Quantization(
            tuple(float(v) for v in values),
            tuple(int(v) for v in offsets),
            axis if len(values) > 1 else None,
        )


def _axis_of(node: Any, axis: int | None) -> int:
    if node.op_type == "QLinearConv":
        return 0
    return 1 if axis is None else axis


def _flatten(data: np.ndarray[Any, Any] | None) -> list[Any]:
    return [] if data is None else data.ravel().tolist()


_GRAPH_ATTRIBUTE = 5
# Graphs, tensors, sparse tensors and types, alone or in lists: no settings of an operation.
_NOT_SETTINGS = (4, 5, 9, 10, 11, 12, 13, 14)


def _read_attribute(attribute: Any) -> Any:
    """Read a number, a text or a list of them."""
    field = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints", 8: "strings"}.get(attribute.type, "i")
    value = getattr(attribute, field)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if field == "strings":
        return tuple(v.decode("utf-8", "replace") for v in value)
    return value if field in ("f", "i") else tuple(value)


def _find_constant_nodes(graph: Any) -> dict[str, Any]:
    """Return the tensors of ``Constant`` nodes by the name of their output."""
    helper = import_backend("onnx.helper")
    numpy_helper = import_backend("onnx.numpy_helper")
    found = {}
    for node in graph.node:
        if node.op_type != "Constant" or not node.output:
            continue
        for attribute in node.attribute:
            if attribute.name == "value":
                found[node.output[0]] = attribute.t
            elif attribute.name in ("value_float", "value_int", "value_floats", "value_ints"):
                array = np.asarray(helper.get_attribute_value(attribute))
                dtype = "float32" if "float" in attribute.name else "int64"
                found[node.output[0]] = numpy_helper.from_array(array.astype(dtype))
    return found


def _declared_types(graph: Any) -> dict[str, TypeInfo]:
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        info = read_type(value.type)
        if info is not None:
            found[value.name] = info
    return found


def _dtype(proto: Any) -> str:
    return DTYPES.get(proto.data_type, f"type_{proto.data_type}")


def _name_op(node: Any) -> str:
    known = node.domain in _STANDARD_DOMAINS or node.op_type in KINDS
    return node.op_type if known else f"CUSTOM:{node.domain}.{node.op_type}"


def _classify(node: Any, raw: Mapping[str, Any], inputs: Sequence[Tensor | None]) -> OpKind:
    """Find the kind; a convolution's depends on its rank and groups."""
    standard = node.domain in _STANDARD_DOMAINS
    kind = KINDS.get(node.op_type, OpKind.OTHER if standard else OpKind.CUSTOM)
    if kind is not OpKind.CONV_2D:
        return kind
    position = find_weights(node.op_type)
    weights = inputs[position] if position < len(inputs) else None
    if is_depthwise(raw, weights):
        return OpKind.DEPTHWISE_CONV_2D
    return _CONV_KINDS.get(len(weights.shape), kind) if weights is not None else kind
