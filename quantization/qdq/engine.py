"""The adapter to ONNX Runtime's quantizer: a float ONNX network and our ranges in, QDQ out."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import UnsupportedOpError, summarize
from edgevision.quantization.calibrate import widen_range
from edgevision.runtime.onnxruntime import list_failures
from edgevision.specs import Scheme

Bounds = Mapping[str, tuple[float, float]]
"""Minimum and maximum of every float activation by name."""

_ERRORS_ONLY = 3
_ACTIVATIONS = ("Relu", "Clip")
# What ONNX Runtime has integer kernels for between QDQ pairs, and vision networks are made of.
_OPS = (
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Mul",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Sigmoid",
    "GlobalAveragePool",
    "AveragePool",
    "MaxPool",
    "Concat",
    "Reshape",
    "Flatten",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Resize",
    "Pad",
    "ConvTranspose",
)


def normalize_onnx(model: Any, *, shown: str) -> Any:
    """Bring a float model into the form that is quantized.

    Batch normalization and constants are folded, an open batch becomes 1, nodes get names, and
    every convolution a bias, so that there is a place to correct it.

    Args:
        model: ``ModelProto``; it is changed.
        shown: What errors call it.

    Returns:
        ``ModelProto``.

    Raises:
        UnsupportedOpError: ONNX Runtime refuses the model.
    """
    onnx = import_backend("onnx")
    runtime = import_backend("onnxruntime")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = _ERRORS_ONLY
    with tempfile.TemporaryDirectory() as folder:
        fixed, place = Path(folder) / "fixed.onnx", Path(folder) / "optimized.onnx"
        fix_batch(model)
        onnx.save(model, str(fixed))
        options.optimized_model_filepath = str(place)
        try:
            runtime.InferenceSession(str(fixed), options, providers=["CPUExecutionProvider"])
        except list_failures() as error:
            raise UnsupportedOpError(
                "ONNX Runtime can not run the model", received=f"{shown}: {summarize(error)}"
            ) from error
        optimized = onnx.load(str(place))
    _complete(optimized)
    return optimized


def run_onnx_engine(
    model: Any, scheme: Scheme, bounds: Bounds, *, lifted: Sequence[str] = ()
) -> Any:
    """Quantize a float model.

    Args:
        model: ``ModelProto``, from ``normalize_onnx``.
        scheme: ``int8`` or ``int8-per-tensor``.
        bounds: Range of every float activation.
        lifted: Names of nodes that stay in float.

    Returns:
        ``ModelProto`` with QuantizeLinear and DequantizeLinear around what is integer; inputs and
        outputs stay float.

    Raises:
        UnsupportedOpError: The engine can not quantize the model.
    """
    onnx = import_backend("onnx")
    engine = import_backend("onnxruntime.quantization.qdq_quantizer")
    calibrate = import_backend("onnxruntime.quantization.calibrate")
    types = import_backend("onnxruntime.quantization.quant_utils").QuantType
    data = {}
    for name, seen in _complete_bounds(model, bounds).items():
        low, high = (np.array(end, np.float32) for end in widen_range(*seen))
        data[name] = calibrate.TensorData(lowest=low, highest=high)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        with _quiet():
            quantizer = engine.QDQQuantizer(
                copy,
                per_channel=scheme is Scheme.INT8,
                reduce_range=False,
                weight_qType=types.QInt8,
                # On x86 ONNX Runtime turns int8 activations into uint8 ones itself, but not those
                # that several nodes read: every node around them would then compute in float.
                activation_qType=types.QUInt8,
                tensors_range=calibrate.TensorsData(calibrate.CalibrationMethod.MinMax, data),
                nodes_to_quantize=[],
                nodes_to_exclude=list(lifted),
                op_types_to_quantize=list(_OPS),
                extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
            )
            quantizer.quantize_model()
            # Readers want nodes in the order of their work.
            quantizer.model.topological_sort()
            return quantizer.model.model
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UnsupportedOpError(
            "ONNX Runtime can not quantize this model",
            received=f"scheme={scheme}: {summarize(error)}",
            remedy="quantize the .tflite of the same model",
        ) from error


def _complete_bounds(model: Any, bounds: Bounds) -> Bounds:
    """Give what an activation function reads the range of what it writes, where nobody says one."""
    known = dict(bounds)
    for node in model.graph.node:
        if node.op_type in _ACTIVATIONS and node.output[0] in bounds:
            known.setdefault(node.input[0], bounds[node.output[0]])
    return known


def fix_batch(model: Any) -> None:
    """Let an open batch be 1, in place."""
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and not dimensions[0].dim_value:
            dimensions[0].dim_value = 1


def _complete(model: Any) -> None:
    """Give nodes names of their own, and convolutions biases."""
    onnx = import_backend("onnx")
    constants = {t.name: t for t in model.graph.initializer}
    used = set[str]()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in used:
            node.name = f"{node.op_type}_{index}"
        used.add(node.name)
        bare = node.op_type == "Conv" and len(node.input) == 2
        if bare and node.input[1] in constants:
            zeros = np.zeros(constants[node.input[1]].dims[0], np.float32)
            name = f"{node.name}/zero_bias"
            model.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
            node.input.append(name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
