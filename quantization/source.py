"""The float model to be quantized: read, and refused with a clear line where that can not work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.contract import Contract
from edgevision.converters.endings import Body, Ending, put_on, take_off_tflite
from edgevision.errors import (
    InvalidConfigError,
    InvalidModelError,
    OutputError,
    UnsupportedOpError,
)
from edgevision.graph.contracts import complete_contract, read_contract
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import map_file, read_tflite
from edgevision.outputs import check_writable
from edgevision.quantization.constants import unpack_constants
from edgevision.quantization.layers import find_layers, get_weights

_REMEDIES = {
    ".keras": "convert it first: edgevision convert",
    ".h5": "convert it first: edgevision convert",
}
_INTEGERS = ("int8", "uint8", "int16", "int4", "int2")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatModel:
    """A float ``.tflite`` with one image input.

    Attributes:
        path: The file.
        data: Bytes of the bare network: of a detector, what answers its raw heads, of a segmenter
            its scores.
        graph: The bare network.
        contract: What the file and the caller say about it, completed.
        body: What the network was taken from: its ending is put on again.
    """

    path: Path
    data: bytes
    graph: Graph
    contract: Contract
    body: Body

    def finish(self, model: bytes) -> bytes:
        """Give a quantized network the ending that the float one has.

        Boxes are decoded and suppressed in float, from heads with a scale each.
        """
        if self.body.ending == Ending():
            return model
        graph = read_tflite(model)
        anchors = self.body.anchors
        return put_on(model, graph, self.contract, self.body.ending, anchors=anchors).data


def check_output(model: str | Path, output: str | Path) -> None:
    """Refuse an output of another format, that can not be written, or is the float model itself.

    Raises:
        InvalidConfigError: The suffix is another.
        OutputError: The place can not be written, or would take the float model away.
    """
    wanted = ".onnx" if Path(model).suffix.lower() == ".onnx" else ".tflite"
    if Path(output).suffix.lower() != wanted:
        raise InvalidConfigError(
            f"the quantized model is a {wanted} file as the float one is",
            received=output,
            remedy=f"name it MODEL{wanted}, or convert the float model first: edgevision convert",
        )
    check_writable(output)
    if Path(output).resolve() == Path(model).resolve():
        raise OutputError(
            "the output would replace the float model",
            received=output,
            remedy="choose another name",
        )


def open_source(path: str | Path, overrides: Mapping[str, Any]) -> FloatModel:
    """Read a float model and its contract; weights in float16 become float32.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is no sound ``.tflite``, or is quantized already.
        UnsupportedOpError: It can not be quantized: several inputs, dynamic shapes, no layers with
            float weights.
        InvalidConfigError: An override does not fit.
    """
    place = Path(path)
    if place.exists() and (remedy := _REMEDIES.get(place.suffix.lower())):
        raise UnsupportedOpError(
            "only .tflite and .onnx files are quantized", received=place, remedy=remedy
        )
    _check_is_float(read_tflite(place), str(place))  # before integers are unpacked
    unpacked = unpack_constants(bytes(map_file(place)))
    original = read_tflite(unpacked)
    check_graph(original, str(place))
    contract = complete_contract(read_contract(place), original, overrides)
    body = take_off_tflite(unpacked)
    data = normalize_model(body.data)
    graph = read_tflite(data)
    return FloatModel(path=place, data=data, graph=graph, contract=contract, body=body)


def normalize_model(model: bytes) -> bytes:
    """Bring a float model into the form that the engine reads right.

    The batch becomes 1 where it was left open. The codes of operations are written where newer
    files have them: the engine takes those of older files, which lack them, all for additions.
    Tensors get names of their own: the engine looks ranges up by name. A list of signatures is
    there, if empty: the engine goes through it where it adds a step behind an output.
    """
    editor = ModelEditor(model)
    editor.model.signatureDefs = editor.model.signatureDefs or []
    for code in editor.model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    used: set[bytes] = set()
    for index, tensor in enumerate(editor.model.subgraphs[0].tensors):
        tensor.shapeSignature = None
        name = bytes(tensor.name or b"")
        tensor.name = name if name and name not in used else b"%s_%d" % (name, index)
        used.add(tensor.name)
    return editor.to_bytes()


def check_graph(graph: Graph, shown: str) -> None:
    """Refuse a network that can not be quantized.

    Args:
        graph: The network.
        shown: What errors call it.
    """
    if len(graph.inputs) != 1:
        raise UnsupportedOpError(
            "quantization takes models with one input",
            received=f"{shown}: {len(graph.inputs)} inputs",
        )
    # A batch that was left open runs as 1; any other open dimension has no size.
    loose = [t for t in graph.tensors if not all(d >= 0 for d in t.shape[1:])]
    if loose:
        raise UnsupportedOpError(
            "quantization takes static shapes",
            received=f"{shown}: tensor {loose[0].name!r} has shape {list(loose[0].shape)}",
            remedy="convert the model again with a fixed batch of 1",
        )
    spec = graph.input_specs()[0]
    if len(spec.shape) != 4 or abs(spec.shape[0]) != 1 or spec.dtype != "float32":
        raise UnsupportedOpError(
            "quantization takes models with one float32 image as input",
            received=f"{shown}: {spec.dtype}{list(spec.shape)}",
            remedy="convert the model again with a float32 image of batch 1 as its input",
        )
    if graph.subgraphs:
        raise UnsupportedOpError(
            "models with control flow can not be quantized",
            received=f"{shown}: {len(graph.subgraphs) + 1} subgraphs",
        )
    if not any(get_weights(graph, op).dtype == "float32" for op in find_layers(graph)):
        raise UnsupportedOpError(
            "nothing to quantize: no convolution or dense layer with float32 weights",
            received=shown,
        )


def _check_is_float(graph: Graph, shown: str) -> None:
    # A float network may take bytes; only what lies behind its input tells whether it computes so.
    inner = (t for t in graph.tensors if t.index not in graph.inputs)
    found = [t for t in inner if t.dtype in _INTEGERS and t.quantization is not None]
    if found:
        raise InvalidModelError(
            "the model is quantized already",
            received=f"{shown}: tensor {found[0].name!r} is {found[0].dtype}",
            remedy="give the float .tflite that it was made from",
        )
