"""The ways from one format to another; each leads to a network without its ending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.contract import Preprocessing
from edgevision.converters.endings import Body, take_off_onnx, take_off_tflite
from edgevision.converters.parity import Runner
from edgevision.errors import InvalidConfigError
from edgevision.graph.concats import split_concats
from edgevision.graph.postprocess import dequantize_heads
from edgevision.graph.reader import read_graph
from edgevision.runtime.sessions import open_session
from edgevision.specs import Layout, ModelFormat, Precision, Progress

if TYPE_CHECKING:
    from edgevision.converters.frozen import FrozenModel

_KERAS_FORMATS = (ModelFormat.KERAS, ModelFormat.H5, ModelFormat.SAVED_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be converted, and how.

    Attributes:
        source: The model.
        precision: Of the weights.
        layout: Axis order of an ONNX model's images.
        input_size: (height, width) for a Keras model that leaves it open.
        folder: Place for temporary files that lasts until the file is checked.
    """

    source: Path
    precision: Precision
    layout: Layout
    input_size: tuple[int, int] | None
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Converted:
    """A network in its new format, not yet written, beside the source that it must agree with.

    Attributes:
        body: The network, and the ending that the source had.
        reference: Runs the source, without its ending.
        original: The source's own bytes, where the format stays.
        mended: What was changed on the way, as short sentences.
        warnings: What a person should check.
        preprocessing: What the images must go through when the network normalizes them itself.
    """

    body: Body
    reference: Runner
    original: bytes | None = None
    mended: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


Route = Callable[[Request, Progress], Converted]


def find_route(origin: ModelFormat, target: ModelFormat) -> Route:
    """Return the function that converts one format into another."""
    return _ROUTES[ModelFormat.KERAS if origin in _KERAS_FORMATS else origin, target]


def _convert_keras(
    request: Request, report: Progress, write: Callable[[FrozenModel], bytes]
) -> Converted:
    """Load and freeze a Keras model, and let ``write`` bring it into its new format."""
    from edgevision.converters.frozen import freeze_model
    from edgevision.converters.lint import lint_model
    from edgevision.converters.load import load_keras_model

    report("loading", 0, 1)
    model = load_keras_model(request.source)
    linted = lint_model(model, input_size=request.input_size)
    report("loading", 1, 1)
    frozen = freeze_model(linted.model, linted.inputs)
    report("converting", 0, 1)
    data = write(frozen)
    report("converting", 1, 1)
    return Converted(
        body=Body(data=data),
        reference=frozen,
        mended=linted.mended,
        warnings=linted.warnings,
        preprocessing=linted.preprocessing,
    )


def _convert_keras_to_tflite(request: Request, report: Progress) -> Converted:
    from edgevision.converters.keras_to_tflite import convert_to_tflite

    def write(frozen: FrozenModel) -> bytes:
        return split_concats(convert_to_tflite(frozen, precision=request.precision))

    return _convert_keras(request, report, write)


def _convert_keras_to_onnx(request: Request, report: Progress) -> Converted:
    from edgevision.converters.keras_to_onnx import convert_to_onnx

    write = partial(convert_to_onnx, precision=request.precision, layout=request.layout)
    return _convert_keras(request, report, write)


def _convert_tflite_to_onnx(request: Request, report: Progress) -> Converted:
    from edgevision.converters.tflite_to_onnx import convert_to_onnx

    report("converting", 0, 1)
    source = request.source.read_bytes()
    # ONNX says nothing of the scale of an output.
    body = take_off_tflite(source, floats=True)
    bare = dequantize_heads(body.data)
    data = convert_to_onnx(bare, precision=request.precision, layout=request.layout)
    report("converting", 1, 1)
    return Converted(
        body=Body(data=data, ending=body.ending, anchors=body.anchors),
        reference=_open_body(request, source, bare),
    )


def _convert_onnx_to_tflite(request: Request, report: Progress) -> Converted:
    from edgevision.converters.onnx_to_tflite import convert_to_tflite

    report("converting", 0, 1)
    source = request.source.read_bytes()
    body = take_off_onnx(source, read_graph(request.source))
    reference = _open_body(request, source, body.data)
    path = request.source if body.data == source else _name_body(request)
    data = split_concats(convert_to_tflite(path, precision=request.precision))
    report("converting", 1, 1)
    return Converted(body=Body(data=data, ending=body.ending), reference=reference)


def _keep_format(request: Request, _report: Progress) -> Converted:
    """Take the network as it is: only its contract and its ending may change."""
    if request.precision is not Precision.FLOAT32 or request.layout is not Layout.NHWC:
        raise InvalidConfigError(
            "converting a file to its own format changes its contract and its ending only",
            received=f"precision={request.precision}, layout={request.layout}",
            remedy="use edgevision quantize --scheme float16 for smaller weights",
        )
    source = request.source.read_bytes()
    graph = read_graph(request.source)
    is_onnx = graph.format is ModelFormat.ONNX
    body = take_off_onnx(source, graph) if is_onnx else take_off_tflite(source)
    return Converted(body=body, reference=_open_body(request, source, body.data), original=source)


def _open_body(request: Request, source: bytes, body: bytes) -> Runner:
    """Open the source, or what is left of it without its ending."""
    if body == source:
        return open_session(request.source)
    path = _name_body(request)
    path.write_bytes(body)
    return open_session(path)


def _name_body(request: Request) -> Path:
    return request.folder / f"body{request.source.suffix.lower()}"


_ROUTES: Mapping[tuple[ModelFormat, ModelFormat], Route] = {
    (ModelFormat.KERAS, ModelFormat.TFLITE): _convert_keras_to_tflite,
    (ModelFormat.KERAS, ModelFormat.ONNX): _convert_keras_to_onnx,
    (ModelFormat.TFLITE, ModelFormat.ONNX): _convert_tflite_to_onnx,
    (ModelFormat.ONNX, ModelFormat.TFLITE): _convert_onnx_to_tflite,
    (ModelFormat.TFLITE, ModelFormat.TFLITE): _keep_format,
    (ModelFormat.ONNX, ModelFormat.ONNX): _keep_format,
}
