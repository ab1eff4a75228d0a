"""The face of the converters: any trained model in, one checked device file out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.contract import Contract, Preprocessing
from edgevision.converters.load import is_saved_model
from edgevision.converters.metadata import build_contract, check_options, describe_assumptions
from edgevision.converters.parity import Parity, Runner, check_parity
from edgevision.errors import InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.graph.contracts import write_contract
from edgevision.graph.reader import read_graph
from edgevision.outputs import atomic_path, check_writable
from edgevision.runtime.sessions import open_session
from edgevision.specs import (
    Layout,
    ModelFormat,
    Precision,
    Progress,
    ResizeRule,
    Task,
    parse_choice,
)

if TYPE_CHECKING:
    from edgevision.converters.frozen import FrozenModel

_SOURCES = {
    ".keras": ModelFormat.KERAS,
    ".h5": ModelFormat.H5,
    ".hdf5": ModelFormat.H5,
    ".tflite": ModelFormat.TFLITE,
    ".onnx": ModelFormat.ONNX,
}
_TARGETS = {".tflite": ModelFormat.TFLITE, ".onnx": ModelFormat.ONNX}
_KERAS_FORMATS = (ModelFormat.KERAS, ModelFormat.H5, ModelFormat.SAVED_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """What a conversion made.

    Attributes:
        output: The new file.
        format: Its format.
        precision: Precision of its weights.
        ops: Operations in it.
        parity: How close its answers are to the source's.
        contract: What it says about itself.
        mended: What was changed on the way, as short sentences.
        warnings: What a person should check.
        seconds: Time of the whole conversion, the check included.
    """

    output: Path
    format: ModelFormat
    precision: Precision
    ops: int
    parity: Parity
    contract: Contract
    mended: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "output": str(self.output),
            "format": self.format.value,
            "precision": self.precision.value,
            "ops": self.ops,
            "parity": self.parity.to_dict(),
            "contract": self.contract.to_dict(),
            "mended": list(self.mended),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    source: Path
    precision: Precision
    layout: Layout
    input_size: tuple[int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Converted:
    """A model in its new format, not yet written, beside the source that it must agree with."""

    data: bytes
    reference: Runner
    mended: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def convert(
    source: str | Path,
    output: str | Path,
    *,
    precision: Precision | str = Precision.FLOAT32,
    layout: Layout | str = Layout.NHWC,
    task: Task | str | None = None,
    labels: str | Path | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
    resize: ResizeRule | str | None = None,
    crop_fraction: float | None = None,
    input_size: int | tuple[int, int] | None = None,
    parity_data: str | Path | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> ConversionResult:
    """Convert a model, attach its contract, and check that it still gives the same answers.

    The file is written only when the check passes. Converting a file to its own format changes
    the contract and nothing else.

    Args:
        source: ``.keras``, ``.h5``, SavedModel folder, ``.tflite`` or ``.onnx``.
        output: ``.tflite`` or ``.onnx``.
        precision: Of the weights; arithmetic, inputs and outputs stay float32.
        layout: Axis order of an ONNX model's image input.
        task: What the model answers.
        labels: Text file with one class name a line.
        mean: Subtracted from pixels 0–255; one value or one per channel.
        std: Divides what is left.
        resize: How an image becomes the input size.
        crop_fraction: For ``resize="crop"``.
        input_size: (height, width) for a Keras model that leaves it open.
        parity_data: Folder of photographs for the check; generated inputs otherwise.
        skip_broken: Leave out photographs that can not be decoded, instead of failing.
        progress: Called with the stages ``loading``, ``converting`` and ``checking``.

    Returns:
        What was made and how well it agrees.

    Raises:
        MissingFileError: A file or folder that was named does not exist.
        InvalidModelError: The source is not a whole model.
        InvalidConfigError: The options contradict each other or the model.
        UnsupportedOpError: The target format lacks an operation of the model.
        QualityGateError: The new model does not agree with its source; nothing was written.
        OutputError: The output can not be written.
        BackendUnavailableError: An optional package is missing.
    """
    start = time.perf_counter()
    report = progress or _ignore
    origin, target = detect_source(source), detect_target(output)
    request = _make_request(source, target, (precision, layout, input_size))
    options = check_options(
        {"task": task, "labels": labels, "mean": mean, "std": std}
        | {"resize": resize, "crop_fraction": crop_fraction}
    )
    check_writable(output)
    converted = _ROUTES[_kind(origin), target](request, report)
    with atomic_path(output) as place:
        contract = _write_model(place, converted, options, request.source)
        graph = read_graph(place)
        parity = check_parity(
            converted.reference,
            open_session(place),
            contract=contract,
            precision=request.precision,
            quantized=any(tensor.quantization for tensor in graph.tensors),
            folder=parity_data,
            skip_broken=skip_broken,
            progress=progress,
        )
    return ConversionResult(
        output=Path(output),
        format=target,
        precision=request.precision,
        ops=len(graph.ops),
        parity=parity,
        contract=contract,
        mended=converted.mended,
        warnings=(*converted.warnings, *describe_assumptions(contract), *parity.skipped),
        seconds=time.perf_counter() - start,
    )


def detect_source(source: str | Path) -> ModelFormat:
    """Tell the format of a model that is to be converted.

    Raises:
        MissingFileError: There is no such file or folder.
        InvalidModelError: It has none of the known forms.
    """
    path = Path(source)
    if not path.exists():
        raise MissingFileError(
            "there is no such file or folder", received=path, remedy="check the path"
        )
    if path.is_dir():
        if is_saved_model(path):
            return ModelFormat.SAVED_MODEL
        raise InvalidModelError("the folder is no SavedModel", received=path)
    if path.suffix.lower() not in _SOURCES:
        raise InvalidModelError(
            "unknown kind of model file",
            received=path,
            remedy=f"use {', '.join(_SOURCES)} or a SavedModel folder",
        )
    return _SOURCES[path.suffix.lower()]


def detect_target(output: str | Path) -> ModelFormat:
    """Tell the format that an output's suffix asks for.

    Raises:
        InvalidConfigError: It is neither ``.tflite`` nor ``.onnx``.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in _TARGETS:
        raise InvalidConfigError(
            "the output's suffix chooses the format", received=output, remedy="use .tflite or .onnx"
        )
    return _TARGETS[suffix]


def _make_request(
    source: str | Path,
    target: ModelFormat,
    how: tuple[Precision | str, Layout | str, int | tuple[int, int] | None],
) -> _Request:
    precision = parse_choice(Precision, how[0], "precision")
    layout = parse_choice(Layout, how[1], "layout")
    if layout is Layout.NCHW and target is not ModelFormat.ONNX:
        raise InvalidConfigError(
            "only .onnx files can take NCHW images",
            received="layout=nchw",
            remedy="use layout=nhwc",
        )
    size = (how[2], how[2]) if isinstance(how[2], int) else how[2]
    if size is not None and min(size) < 1:
        raise InvalidConfigError("a size is at least 1", received=f"input_size={size}")
    return _Request(source=Path(source), precision=precision, layout=layout, input_size=size)


def _write_model(
    place: Path, converted: _Converted, options: Mapping[str, Any], source: Path
) -> Contract:
    """Write the model with its contract to ``place``."""
    place.write_bytes(converted.data)
    contract = build_contract(
        source, read_graph(place), options=options, preprocessing=converted.preprocessing
    )
    write_contract(place, contract)
    return contract


def _ignore(_stage: str, _done: int, _total: int) -> None:
    """Stand in for a progress function that nobody gave."""


def _kind(origin: ModelFormat) -> ModelFormat:
    return ModelFormat.KERAS if origin in _KERAS_FORMATS else origin


def _convert_keras(
    request: _Request, report: Progress, write: Callable[[FrozenModel], bytes]
) -> _Converted:
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
    return _Converted(
        data=data,
        reference=frozen,
        mended=linted.mended,
        warnings=linted.warnings,
        preprocessing=linted.preprocessing,
    )


def _convert_keras_to_tflite(request: _Request, report: Progress) -> _Converted:
    from edgevision.converters.keras_to_tflite import convert_to_tflite

    return _convert_keras(request, report, partial(convert_to_tflite, precision=request.precision))


def _convert_keras_to_onnx(request: _Request, report: Progress) -> _Converted:
    from edgevision.converters.keras_to_onnx import convert_to_onnx

    write = partial(convert_to_onnx, precision=request.precision, layout=request.layout)
    return _convert_keras(request, report, write)


def _convert_tflite_to_onnx(request: _Request, report: Progress) -> _Converted:
    from edgevision.converters.tflite_to_onnx import convert_to_onnx

    report("converting", 0, 1)
    reference = open_session(request.source)
    data = convert_to_onnx(
        request.source.read_bytes(), precision=request.precision, layout=request.layout
    )
    report("converting", 1, 1)
    return _Converted(data=data, reference=reference)


def _convert_onnx_to_tflite(request: _Request, report: Progress) -> _Converted:
    from edgevision.converters.onnx_to_tflite import convert_to_tflite

    report("converting", 0, 1)
    reference = open_session(request.source)
    data = convert_to_tflite(request.source, precision=request.precision)
    report("converting", 1, 1)
    return _Converted(data=data, reference=reference)


def _keep_format(request: _Request, _report: Progress) -> _Converted:
    """Take the model as it is: only its contract changes."""
    if request.precision is not Precision.FLOAT32 or request.layout is not Layout.NHWC:
        raise InvalidConfigError(
            "converting a file to its own format changes its contract only",
            received=f"precision={request.precision}, layout={request.layout}",
            remedy="use edgevision quantize --scheme float16 for smaller weights",
        )
    return _Converted(data=request.source.read_bytes(), reference=open_session(request.source))


_ROUTES: Mapping[tuple[ModelFormat, ModelFormat], Callable[[_Request, Progress], _Converted]] = {
    (ModelFormat.KERAS, ModelFormat.TFLITE): _convert_keras_to_tflite,
    (ModelFormat.KERAS, ModelFormat.ONNX): _convert_keras_to_onnx,
    (ModelFormat.TFLITE, ModelFormat.ONNX): _convert_tflite_to_onnx,
    (ModelFormat.ONNX, ModelFormat.TFLITE): _convert_onnx_to_tflite,
    (ModelFormat.TFLITE, ModelFormat.TFLITE): _keep_format,
    (ModelFormat.ONNX, ModelFormat.ONNX): _keep_format,
}
