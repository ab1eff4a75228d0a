"""The face of the converters: any trained model in, one checked device file out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgevision.contract import Contract
from edgevision.converters.ending_check import check_argmax, check_nms
from edgevision.converters.endings import (
    Ending,
    Finished,
    describe_ending,
    extract_nms,
    put_on,
)
from edgevision.converters.load import is_saved_model
from edgevision.converters.metadata import build_contract, check_options, describe_assumptions
from edgevision.converters.parity import Parity, check_parity
from edgevision.converters.routes import Converted, Request, find_route
from edgevision.errors import InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.graph.anchors import Floats
from edgevision.graph.contract_completion import DETECTION_FIELDS
from edgevision.graph.contracts import write_contract
from edgevision.graph.detection_heads import has_postprocess
from edgevision.graph.reader import read_graph
from edgevision.outputs import atomic_path, check_writable
from edgevision.runtime.session import Session
from edgevision.runtime.sessions import open_session
from edgevision.specs import (
    Heads,
    Layout,
    ModelFormat,
    Precision,
    Progress,
    ResizeRule,
    ScoreKind,
    Task,
    parse_choice,
)

_SOURCES = {
    ".keras": ModelFormat.KERAS,
    ".h5": ModelFormat.H5,
    ".hdf5": ModelFormat.H5,
    ".tflite": ModelFormat.TFLITE,
    ".onnx": ModelFormat.ONNX,
}
_TARGETS = {".tflite": ModelFormat.TFLITE, ".onnx": ModelFormat.ONNX}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionResult:
    """What a conversion made.

    Attributes:
        output: The new file.
        format: Its format.
        precision: Precision of its weights.
        ops: Operations in it.
        ending: What a detector or segmenter ends in.
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
    ending: Ending
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
            **describe_ending(self.ending),
            "parity": self.parity.to_dict(),
            "contract": self.contract.to_dict(),
            "mended": list(self.mended),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
        }


def convert(
    source: str | Path,
    output: str | Path,
    *,
    precision: Precision | str = Precision.FLOAT32,
    layout: Layout | str = Layout.NHWC,
    heads: Heads | str | None = None,
    argmax: bool | None = None,
    task: Task | str | None = None,
    labels: str | Path | None = None,
    mean: float | tuple[float, ...] | None = None,
    std: float | tuple[float, ...] | None = None,
    resize: ResizeRule | str | None = None,
    crop_fraction: float | None = None,
    score_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int | None = None,
    class_agnostic: bool | None = None,
    input_size: int | tuple[int, int] | None = None,
    parity_data: str | Path | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> ConversionResult:
    """Convert a model, attach its contract, and check that it still gives the same answers.

    The file is written only when the checks pass: the bare network must answer like the source's,
    and what it ends in must answer what its own outputs say. Converting a file to its own format
    changes the contract and the ending, and nothing else.

    Args:
        source: ``.keras``, ``.h5``, SavedModel folder, ``.tflite`` or ``.onnx``.
        output: ``.tflite`` or ``.onnx``.
        precision: Of the weights; arithmetic, inputs and outputs stay float32.
        layout: Axis order of an ONNX model's images.
        heads: What a detector ends in: ``nms`` suppresses overlapping boxes in the file and answers
            ``boxes``, ``classes``, ``scores`` and ``count``; ``raw`` answers ``box_encodings`` and
            ``class_scores``. By default ``nms``, where the anchors are known; a file in its own
            format keeps what it has.
        argmax: Whether a segmenter answers the number of the best class of each pixel instead of
            scores; by default what the source does.
        task: What the model answers.
        labels: Text file with one class name a line.
        mean: Subtracted from pixels 0–255; one value or one per channel.
        std: Divides what is left.
        resize: How an image becomes the input size.
        crop_fraction: For ``resize="crop"``.
        score_threshold: Of a detector: boxes that score below it are left out.
        iou_threshold: Overlap above which the box with the lower score is left out.
        max_detections: Most boxes in one image.
        class_agnostic: Whether boxes of different classes suppress each other.
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
    ending = _make_ending(heads, argmax)
    choices = _check_choices(target, precision, layout, input_size)
    options = check_options(
        {"task": task, "labels": labels, "mean": mean, "std": std}
        | {"resize": resize, "crop_fraction": crop_fraction}
        | {"score_threshold": score_threshold, "iou_threshold": iou_threshold}
        | {"max_detections": max_detections, "class_agnostic": class_agnostic}
    )
    check_writable(output)
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder, atomic_path(output) as place:
        request = Request(source=Path(source), folder=Path(folder), **choices)
        converted = find_route(origin, target)(request, report)
        # A place of its own: files that are open are mapped, and must not change.
        bare_file = request.folder / f"bare.{target}"
        contract = _write_body(bare_file, converted, options, request.source)
        bare = open_session(bare_file)
        parity = check_parity(
            converted.reference,
            bare,
            contract=contract,
            precision=request.precision,
            quantized=any(tensor.quantization for tensor in read_graph(bare_file).tensors),
            folder=parity_data,
            skip_broken=skip_broken,
            progress=progress,
        )
        finished = _finish(bare_file, converted, contract, ending=ending, options=options)
        place.write_bytes(finished.data)
        write_contract(place, finished.contract)
        if finished.data not in (converted.body.data, converted.original):
            raw = replace(finished, contract=replace(finished.contract, scores=contract.scores))
            _check_ending(place, raw, bare, request.folder, anchors=converted.body.anchors)
        num_ops = len(read_graph(place).ops)
    return ConversionResult(
        output=Path(output),
        format=target,
        precision=request.precision,
        ops=num_ops,
        ending=finished.ending,
        parity=parity,
        contract=finished.contract,
        mended=converted.mended,
        warnings=(
            *converted.warnings,
            *describe_assumptions(finished.contract),
            *finished.warnings,
            *parity.skipped,
        ),
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


def _make_ending(heads: Heads | str | None, argmax: bool | None) -> Ending:
    chosen = None if heads is None else parse_choice(Heads, heads, "heads")
    return Ending(heads=chosen, argmax=argmax)


def _check_choices(
    target: ModelFormat,
    precision: Precision | str,
    layout: Layout | str,
    input_size: int | tuple[int, int] | None,
) -> dict[str, Any]:
    """Return what a ``Request`` takes of them."""
    precision = parse_choice(Precision, precision, "precision")
    layout = parse_choice(Layout, layout, "layout")
    if layout is Layout.NCHW and target is not ModelFormat.ONNX:
        raise InvalidConfigError(
            "only .onnx files can take NCHW images",
            received="layout=nchw",
            remedy="use layout=nhwc",
        )
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    if size is not None and min(size) < 1:
        raise InvalidConfigError("a size is at least 1", received=f"input_size={size}")
    return {"precision": precision, "layout": layout, "input_size": size}


def _write_body(
    place: Path, converted: Converted, options: Mapping[str, Any], source: Path
) -> Contract:
    """Write the bare network, and return what is known of it."""
    place.write_bytes(converted.body.data)
    return build_contract(
        source, read_graph(place), options=options, preprocessing=converted.preprocessing
    )


def _finish(
    bare_file: Path,
    converted: Converted,
    contract: Contract,
    *,
    ending: Ending,
    options: Mapping[str, Any],
) -> Finished:
    """Give the network the ending that is asked for."""
    body, limited = converted.body, not options.keys().isdisjoint(DETECTION_FIELDS)
    had = body.ending
    heads, argmax = ending.heads, ending.argmax
    if converted.original is not None and contract.task is Task.DETECT:
        heads = heads or had.heads or Heads.RAW
    argmax = had.argmax if argmax is None else argmax
    asked = Ending(heads=heads, argmax=argmax)
    if asked == had and not limited and converted.original is not None:
        return Finished(data=converted.original, contract=contract, ending=had)
    graph = read_graph(bare_file)
    if limited and has_postprocess(graph):
        raise InvalidConfigError(
            "the suppression of boxes in this file can not be changed",
            received=", ".join(sorted(options.keys() & set(DETECTION_FIELDS))),
            remedy="convert from the model that it was made from",
        )
    return put_on(body.data, graph, contract, asked, anchors=body.anchors)


def _check_ending(
    place: Path, finished: Finished, bare: Session, folder: Path, *, anchors: Floats | None
) -> None:
    """Hold that the new ending answers what the outputs of the bare network say."""
    contract = finished.contract
    if finished.ending.heads is not Heads.NMS:
        check_argmax(bare, open_session(place), contract)
        return
    target = detect_target(place)
    file = folder / f"ending.{target}"
    file.write_bytes(extract_nms(finished.data, target))
    if target is ModelFormat.TFLITE:  # cut behind the sigmoid
        contract = replace(contract, scores=ScoreKind.PROBABILITIES)
    gridded = contract.detection is not None and contract.detection.anchors
    check_nms(open_session(file), contract, anchors=None if gridded else anchors)


def _ignore(_stage: str, _done: int, _total: int) -> None:
    """Stand in for a progress function that nobody gave."""
