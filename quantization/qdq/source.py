"""The float ``.onnx`` to be quantized: read, and refused with a clear line where it can not be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.contract import Contract
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.graph.contracts import complete_contract, read_contract
from edgevision.graph.graph import Graph
from edgevision.graph.onnx import read_onnx
from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.layers import find_onnx_layers
from edgevision.quantization.request import Request
from edgevision.quantization.steps import LAYER_STEPS
from edgevision.specs import RangeMethod, Scheme, Task

SCHEMES = (Scheme.INT8, Scheme.INT8_PER_TENSOR)
"""What ONNX files can become in this version."""

_INTEGER_OPS = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxSource:
    """A float ``.onnx`` with one image as input.

    Attributes:
        path: The file.
        model: ``ModelProto``, ready for the engine.
        graph: The file, read.
        contract: What the file and the caller say about it, completed.
    """

    path: Path
    model: Any
    graph: Graph
    contract: Contract


def open_onnx(path: Path, overrides: Mapping[str, Any]) -> OnnxSource:
    """Read a float model and its contract.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is damaged, or quantized already.
        UnsupportedOpError: It can not be quantized.
    """
    graph = read_onnx(path)
    contract = complete_contract(read_contract(path), graph, overrides)
    integer = [op.name for op in graph.ops if op.name in _INTEGER_OPS]
    if integer:
        raise InvalidModelError(
            "the model is quantized already",
            received=f"{path}: it holds {integer[0]}",
            remedy="give the float .onnx that it was made from",
        )
    if len(graph.inputs) != 1:
        raise UnsupportedOpError(
            "quantization takes models with one input",
            received=f"{path}: {len(graph.inputs)} inputs",
        )
    spec = graph.input_specs()[0]
    if len(spec.shape) != 4 or spec.dtype != "float32" or any(d < 1 for d in spec.shape[1:]):
        raise UnsupportedOpError(
            "quantization takes models with one float32 image of fixed size as input",
            received=f"{path}: {spec.dtype}{list(spec.shape)}",
        )
    if contract.task is Task.DETECT:
        raise UnsupportedOpError(
            "detectors are quantized as .tflite files only in this version",
            received=path,
            remedy="quantize the .tflite of the same model",
        )
    model = normalize_onnx(path)
    if not find_onnx_layers(model):
        raise UnsupportedOpError(
            "nothing to quantize: no convolution or dense layer with float32 weights",
            received=path,
        )
    return OnnxSource(path=path, model=model, graph=graph, contract=contract)


def check_onnx_options(request: Request) -> None:
    """Refuse what is for ``.tflite`` files only in this version.

    Raises:
        UnsupportedOpError: It is named.
    """
    options = request.options
    steps = [str(s) for s in options.steps if s not in LAYER_STEPS] if request.named_steps else []
    wanted = {
        f"scheme={options.row.scheme}": options.row.scheme not in SCHEMES,
        "uint8 inputs and outputs": request.unsigned,
        f"ranges={options.ranges}": options.ranges is not RangeMethod.MINMAX,
        "quantizing without images": options.batch_norm is not None,
        "a diagnosis": request.diagnose,
        f"steps={','.join(steps)}": bool(steps),
    }
    for name, given in wanted.items():
        if given:
            raise UnsupportedOpError(
                "this is for .tflite files only in this version",
                received=name,
                remedy="quantize the .tflite of the same model",
            )
