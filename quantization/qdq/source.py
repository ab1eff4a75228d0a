"""The float ``.onnx`` to be quantized: read, and refused with a clear line where it can not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.contract import Contract
from edgevision.converters.endings import Body, Ending, put_on, take_off_onnx
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.graph.argmax import find_argmax
from edgevision.graph.contracts import attach_onnx_contract, complete_contract, read_contract
from edgevision.graph.detection_heads import has_postprocess
from edgevision.graph.graph import Graph, Op
from edgevision.graph.onnx import read_onnx
from edgevision.quantization.layers import find_layers
from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.network import OnnxNetwork, open_network
from edgevision.quantization.request import Request
from edgevision.quantization.steps import LAYER_STEPS, Step
from edgevision.specs import Lift, RangeMethod, Scheme

SCHEMES = (Scheme.INT8, Scheme.INT8_PER_TENSOR)
"""What ONNX files can become in this version."""

STEPS = (
    Step.DEAD_CHANNELS,
    Step.WEIGHT_EQUALIZATION,
    Step.BIAS_ABSORPTION,
    Step.ACTIVATION_EQUALIZATION,
    Step.SPARE_CHANNELS,
    Step.LOGIT_CLIPPING,
    *LAYER_STEPS,
)
"""Steps that work on a network of any format; the others edit a ``.tflite``."""

_INTEGER_OPS = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxSource:
    """A float ``.onnx`` with one image as input.

    Attributes:
        path: The file.
        graph: The same, read.
        network: The bare network, ready for the engine: of a detector, what answers its raw heads,
            of a segmenter its scores.
        contract: What the file and the caller say about it, completed.
        ending: What was taken off the network, to be put on again.
        tail: What stays in float: an ending that can not be taken off.
    """

    path: Path
    graph: Graph
    network: OnnxNetwork
    contract: Contract
    ending: Ending
    tail: tuple[Op, ...] = ()

    @property
    def outputs(self) -> list[str]:
        """Names of the tensors by which the float and the integer network are compared."""
        graph = self.network.graph
        return [graph.tensors[t].name for t in find_ends(graph, self.tail)]

    def finish(self, model: bytes) -> bytes:
        """Give a quantized network the ending and the contract that the float one has.

        Boxes are decoded and suppressed in float.
        """
        if self.ending != Ending():
            model = put_on(model, self.network.graph, self.contract, self.ending).data
        return attach_onnx_contract(model, self.contract)


def open_onnx(path: Path, overrides: Mapping[str, Any]) -> OnnxSource:
    """Read a float model and its contract.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is damaged, or quantized already.
        UnsupportedOpError: It can not be quantized.
    """
    graph = read_onnx(path)
    contract = complete_contract(read_contract(path), graph, overrides)
    _check_graph(graph, path)
    body = take_off(path, graph, contract)
    network = open_network(normalize_onnx(load_body(path, body), shown=str(path)))
    if not find_layers(network.graph):
        raise UnsupportedOpError(
            "nothing to quantize: no convolution or dense layer with float32 weights",
            received=path,
        )
    ends = has_postprocess(network.graph) or find_argmax(network.graph) is not None
    return OnnxSource(
        path=path,
        graph=graph,
        network=network,
        contract=contract,
        ending=body.ending,
        tail=find_tail(network.graph) if ends else (),
    )


def find_tail(graph: Graph) -> tuple[Op, ...]:
    """List the operations that no layer with weights needs, in order: what makes the answers."""
    needed, pending = set[int](), [op.index for op in find_layers(graph)]
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            tensors = (t for t in graph.ops[index].inputs if t in graph.producers)
            pending.extend(graph.producers[t] for t in tensors)
    return tuple(op for op in graph.ops if op.index not in needed)


def find_ends(graph: Graph, tail: Sequence[Op]) -> list[int]:
    """List the tensors that a tail reads from the rest; the outputs where there is no tail."""
    if not tail:
        return list(graph.outputs)
    inner = {op.index for op in tail}
    read = dict.fromkeys(t for op in tail for t in op.inputs if t in graph.producers)
    found = (graph.tensors[t] for t in read if graph.producers[t] not in inner)
    return [t.index for t in found if (t.dtype == "float32" or t.quantization) and t.static]


def _check_graph(graph: Graph, path: Path) -> None:
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


def take_off(path: Path, graph: Graph, contract: Contract) -> Body:
    """Take off an ending that can be put on again; others stay."""
    data = path.read_bytes()
    detection = contract.detection
    if detection is not None and not detection.anchors:
        return Body(data=data)
    body = take_off_onnx(data, graph)
    return body if body.data != data else Body(data=data)


def load_body(path: Path, body: Body) -> Any:
    """Read a network without its ending, as ``ModelProto``."""
    onnx = import_backend("onnx")
    if body.ending == Ending():  # the file as it is, external data beside it
        return onnx.load(str(path))
    return onnx.load_model_from_string(body.data)


def check_onnx_options(request: Request) -> None:
    """Refuse what is for ``.tflite`` files only in this version.

    Raises:
        UnsupportedOpError: It is named.
    """
    options = request.options
    steps = [str(s) for s in options.steps if s not in STEPS] if request.named_steps else []
    wanted = {
        f"scheme={options.row.scheme}": options.row.scheme not in SCHEMES,
        "uint8 inputs and outputs": request.unsigned,
        f"ranges={options.ranges}": options.ranges is not RangeMethod.MINMAX,
        "quantizing without images": options.batch_norm is not None,
        f"lift={request.target.lift}": request.target.lift is not Lift.FLOAT,
        # Nothing is searched for.
        f"budget={request.target.budget_s}": request.target.budget_s is not None,
        f"steps={','.join(steps)}": bool(steps),
    }
    for name, given in wanted.items():
        if given:
            raise UnsupportedOpError(
                "this is for .tflite files only in this version",
                received=name,
                remedy="quantize the .tflite of the same model",
            )
