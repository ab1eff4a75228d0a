"""From ONNX to ``.tflite``: each operation is rebuilt in TensorFlow, with channels last.

Covers what vision networks are made of; anything else is refused by name. The parity check of
``convert`` then holds the result against ONNX Runtime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.converters.frozen import freeze_call, make_identifier
from edgevision.converters.keras_to_tflite import convert_to_tflite as write_tflite
from edgevision.converters.native_output import capture_output
from edgevision.converters.onnx_pointwise import POINTWISE_BUILDERS
from edgevision.converters.onnx_spatial import SPATIAL_BUILDERS, Builder
from edgevision.converters.onnx_values import IMAGE_RANK, TO_LAST, Value
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.specs import Precision, TensorSpec

_BUILDERS: Mapping[str, Builder] = {**SPATIAL_BUILDERS, **POINTWISE_BUILDERS}
_IMAGE_CHANNELS = (1, 3)
_STANDARD_DOMAINS = ("", "ai.onnx")


def convert_to_tflite(path: str | Path, *, precision: Precision = Precision.FLOAT32) -> bytes:
    """Convert an ONNX model of a vision network.

    NCHW image inputs become NHWC, four-dimensional outputs too. An open batch becomes 1.

    Args:
        path: The ``.onnx`` file.
        precision: ``float16`` stores weights in half precision.

    Returns:
        The ``.tflite``.

    Raises:
        InvalidModelError: The file is damaged, or leaves other dimensions open.
        UnsupportedOpError: It holds operations that are not converted; the error names them.
    """
    proto = _load(Path(path))
    _fix_batch(proto)
    proto = _simplify(proto, Path(path))
    _refuse_unknown_ops(proto)
    initializers = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in initializers]
    specs = [_make_spec(value) for value in inputs]
    shapes, opset = dict(_list_shapes(proto)), _find_opset(proto)

    def call(**given: Any) -> dict[str, Any]:
        values = _read_constants(proto)
        for value, spec in zip(inputs, specs, strict=True):
            values[value.name] = Value(given[spec.name], _is_image(_shape_of(value)))
        for node in proto.graph.node:
            _build_node(node, values, shapes, opset)
        return {make_identifier(out.name): values[out.name].data for out in proto.graph.output}

    return write_tflite(freeze_call(call, specs), precision=precision)


def _load(path: Path) -> Any:
    onnx = import_backend("onnx")
    try:
        return onnx.load(str(path))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InvalidModelError("not an ONNX model", received=path) from error
    except Exception as error:
        # protobuf's DecodeError derives from Exception alone.
        if type(error).__name__ != "DecodeError":
            raise
        raise InvalidModelError("not an ONNX model", received=path) from error


def _fix_batch(proto: Any) -> None:
    """Set an open first dimension to 1 and forget the shapes that followed from it."""
    known = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name in known or not dims:
            continue
        if not dims[0].dim_value:
            dims[0].dim_value = 1
        if any(not dim.dim_value for dim in dims):
            raise InvalidModelError(
                "an ONNX model needs fixed input sizes",
                received=f"{value.name}: {[d.dim_value or d.dim_param for d in dims]}",
                remedy="export it again with a fixed height and width",
            )
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")


def _simplify(proto: Any, path: Path) -> Any:
    """Let ONNX Runtime fold constants and shape arithmetic, then infer every shape."""
    onnx, runtime = import_backend("onnx"), import_backend("onnxruntime")
    with capture_output(), tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        target = Path(folder) / "simple.onnx"
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        try:
            runtime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # ONNX Runtime's own exceptions share no base but Exception.
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise InvalidModelError("ONNX Runtime refuses the model", received=path) from error
        simple = onnx.load(str(target))
    return onnx.shape_inference.infer_shapes(simple, data_prop=True)


def _refuse_unknown_ops(proto: Any) -> None:
    unknown = {
        node.op_type
        for node in proto.graph.node
        if node.op_type not in _BUILDERS or node.domain not in _STANDARD_DOMAINS
    }
    if unknown:
        raise UnsupportedOpError(
            "converting ONNX to TFLite does not cover these operations",
            received=", ".join(sorted(unknown)),
            remedy="convert from the Keras model, or use the .onnx file as it is",
        )


def _find_opset(proto: Any) -> int:
    """Return the version of the standard operations; a file may import other domains first."""
    versions = {entry.domain: int(entry.version) for entry in proto.opset_import}
    return max((versions[d] for d in _STANDARD_DOMAINS if d in versions), default=1)


def _build_node(
    node: Any,
    values: dict[str, Value],
    shapes: Mapping[str, tuple[int, ...]],
    opset: int,
) -> None:
    onnx = import_backend("onnx")
    attributes = {a.name: _decode(onnx.helper.get_attribute_value(a)) for a in node.attribute}
    attributes |= {"opset": opset, "num_results": len(node.output)}
    if node.output[0] in shapes:
        attributes["result_shape"] = shapes[node.output[0]]
    inputs = [values[name] if name else None for name in node.input]
    try:
        results = _BUILDERS[node.op_type](inputs, attributes)
    except UnsupportedOpError as error:
        raise UnsupportedOpError(
            error.what,
            received=f"{node.op_type} {node.name}: {error.received}",
            remedy=error.remedy,
        ) from error
    except KeyError as error:
        raise UnsupportedOpError(
            "an operation without a fixed output shape is not converted",
            received=f"{node.op_type} {node.name}: {error}",
        ) from error
    values.update(zip(node.output, results, strict=False))


def _decode(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _read_constants(proto: Any) -> dict[str, Value]:
    to_array = import_backend("onnx").numpy_helper.to_array
    return {tensor.name: Value(to_array(tensor)) for tensor in proto.graph.initializer}


def _list_shapes(proto: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    for value in (*proto.graph.value_info, *proto.graph.output):
        shape = _shape_of(value)
        if all(shape):
            yield value.name, shape


def _shape_of(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _is_image(shape: tuple[int, ...]) -> bool:
    """Whether an input is NCHW: few channels in front, and not behind."""
    return len(shape) == IMAGE_RANK and shape[1] in _IMAGE_CHANNELS and shape[3] not in (1, 3)


def _make_spec(value: Any) -> TensorSpec:
    shape = _shape_of(value)
    if _is_image(shape):
        shape = tuple(shape[a] for a in TO_LAST)
    dtype = import_backend("onnx").helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return TensorSpec(name=make_identifier(value.name), shape=shape, dtype=str(dtype))
