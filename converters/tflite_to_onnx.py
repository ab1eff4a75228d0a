"""From a ``.tflite`` to ONNX, by tf2onnx, with its rough edges taken off."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.converters.native_output import CapturedOutput, capture_output
from edgevision.converters.onnx_cleanup import clean_model, halve_weights
from edgevision.errors import EdgeVisionError, InvalidModelError, UnsupportedOpError, summarize
from edgevision.graph.graph import Graph
from edgevision.graph.model_editor import ModelEditor
from edgevision.graph.tflite import read_tflite
from edgevision.specs import Layout, Precision

# The newest opset whose global average pools tf2onnx recognizes: with 18 and later it leaves
# ReduceMean behind a transpose, because the axes moved from an attribute to an input. 17 has
# HardSwish (14) and is read by every ONNX Runtime since 1.12.
OPSET = 17
_IMAGE_RANK = 4
_DENSE_RANK = 2
# tf2onnx raises whatever its handlers meet in a model that they do not expect.
_TF2ONNX_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)


def convert_to_onnx(
    model: bytes,
    *,
    precision: Precision = Precision.FLOAT32,
    layout: Layout = Layout.NHWC,
) -> bytes:
    """Convert the main signature of a ``.tflite`` to ONNX.

    Convolutions run in NCHW with one transpose behind the image input; batch normalization is
    already folded. Inputs and outputs are named as in the signature.

    Args:
        model: The ``.tflite``.
        precision: ``float16`` stores weights in half precision, widened by ``Cast`` when loaded.
        layout: ``nchw`` moves the transposes out of the model: image inputs become NCHW, and so do
            outputs that are maps.

    Returns:
        The serialized ONNX model; the same input gives the same bytes.

    Raises:
        UnsupportedOpError: An operation has no ONNX form; the error names it.
        InvalidModelError: The file is damaged.
        BackendUnavailableError: tf2onnx or TensorFlow is not installed.
    """
    graph = read_tflite(model)
    names = [spec.name for spec in graph.input_specs()]
    images = [s.name for s in graph.input_specs() if len(s.shape) == _IMAGE_RANK]
    maps = [s.name for s in graph.output_specs() if len(s.shape) == _IMAGE_RANK]
    turned = layout is Layout.NCHW
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(_flatten_dense_inputs(model, graph))
        proto = run_tf2onnx(
            lambda tf2onnx: tf2onnx.convert.from_tflite(
                str(path),
                input_names=names,
                output_names=[spec.name for spec in graph.output_specs()],
                opset=OPSET,
                inputs_as_nchw=images if turned else None,
                outputs_as_nchw=maps if turned else None,
            )
        )
    return finish_model(proto, _find_names(graph), precision)


def _flatten_dense_inputs(model: bytes, graph: Graph) -> bytes:
    """Reshape what dense layers read to rank 2, as they would do themselves.

    tf2onnx (1.17) loses the bias of a FULLY_CONNECTED whose input has another rank: the file it
    writes is sound, and its answers are wrong.
    """
    dense = [op for op in graph.ops if op.name == "FULLY_CONNECTED"]
    wanted = [
        op
        for op in dense
        if len(graph.tensors[op.inputs[0]].shape) != _DENSE_RANK and not op.attributes["keep_dims"]
    ]
    if not wanted:
        return model
    editor = ModelEditor(model)
    for op in wanted:
        source, weights = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
        shape = np.array((source.size // weights.shape[1], weights.shape[1]), np.int32)
        flat = editor.add_tensor(
            f"{source.name}_flat",
            shape=shape.tolist(),
            dtype=source.dtype,
            quantization=source.quantization,
        )
        extent = editor.add_tensor(f"{source.name}_flat_shape", data=shape)
        options = ("ReshapeOptions", {"newShape": shape.tolist()})
        editor.add_op("RESHAPE", [source.index, extent], [flat], options=options)
        editor.model.subgraphs[0].operators[op.index].inputs = [flat, *op.inputs[1:]]
    return editor.to_bytes()


def finish_model(proto: Any, names: dict[str, str], precision: Precision) -> bytes:
    """Clean, rename, check and serialize what tf2onnx made.

    Raises:
        UnsupportedOpError: It holds operations that ONNX does not have.
    """
    onnx = import_backend("onnx")
    _refuse_foreign_ops(onnx, proto)
    clean_model(proto, names)
    if precision is Precision.FLOAT16:
        halve_weights(proto)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidModelError("the ONNX model is not valid", received=summarize(error)) from error
    return bytes(proto.SerializeToString(deterministic=True))


def run_tf2onnx(convert: Callable[[Any], tuple[Any, Any]]) -> Any:
    """Call tf2onnx quietly.

    Args:
        convert: Takes the tf2onnx package, returns what one of its converters returns.

    Returns:
        The ONNX model.

    Raises:
        UnsupportedOpError: tf2onnx gave up.
    """
    with capture_output() as captured:
        tf2onnx = import_backend("tf2onnx")
        import_backend("tf2onnx.convert")
        try:
            with _hard_swish_through_transposes():
                return convert(tf2onnx)[0]
        except EdgeVisionError:
            raise
        except _TF2ONNX_ERRORS as error:
            failure = error
    raise _explain(failure, captured) from failure


def _explain(error: Exception, captured: CapturedOutput) -> UnsupportedOpError:
    # Some of its errors have no text, and the reason is in the log.
    reason = summarize(error) if str(error).strip() else next(iter(captured.lines), "")
    return UnsupportedOpError(
        "the model can not be expressed in ONNX", received=reason or type(error).__name__
    )


@contextmanager
def _hard_swish_through_transposes() -> Iterator[None]:
    """Let tf2onnx move transposes through HardSwish, which its layout pass does not know.

    Without it every HardSwish of a MobileNetV3 stands between two transposes.
    """
    optimizer = import_backend("tf2onnx.optimizer.transpose_optimizer").TransposeOptimizer
    known = optimizer._initialize_handlers

    def initialize(self: Any) -> None:
        known(self)
        self._handler_map.setdefault("HardSwish", self._simple_through_handler)

    optimizer._initialize_handlers = initialize
    try:
        yield
    finally:
        optimizer._initialize_handlers = known


def _find_names(graph: Graph) -> dict[str, str]:
    """Map tensor names to the names of the signature's arguments, or to names without ``:0``."""
    specs = (*graph.input_specs(), *graph.output_specs())
    names = {s.name: s.name.removesuffix(":0").replace(":", "_") for s in specs}
    for inputs, outputs in graph.signatures.values():
        for argument, index in (*inputs.items(), *outputs.items()):
            names[graph.tensors[index].name] = argument
    return names


def _refuse_foreign_ops(onnx: Any, proto: Any) -> None:
    foreign = {n.op_type for n in proto.graph.node if not _is_standard(onnx, n)}
    if foreign:
        raise UnsupportedOpError(
            "the model uses operations that ONNX does not have",
            received=", ".join(sorted(foreign)),
            remedy="replace them in the network, or ship the .tflite",
        )


def _is_standard(onnx: Any, node: Any) -> bool:
    return node.domain in ("", "ai.onnx") and bool(onnx.defs.has(node.op_type, node.domain))
