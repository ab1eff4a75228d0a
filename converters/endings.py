"""What a converted detector or segmenter ends in, whatever its format.

Conversion and its parity check work on the bare network: raw heads, or scores of pixels. The ending
that the source has is taken off first, and the one that is asked for put on at last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edgevision.contract import Contract, Detection
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.anchors import Floats
from edgevision.graph.argmax import append_argmax, detach_argmax, find_argmax
from edgevision.graph.contract_guesses import is_channels_first
from edgevision.graph.detection_heads import find_heads, has_postprocess
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.graph.postprocess import (
    append_postprocess,
    detach_postprocess,
    extract_postprocess,
    fit_grids,
    read_anchors,
)
from edgevision.graph.tflite import read_tflite
from edgevision.specs import Heads, ModelFormat, ScoreKind, Task

_NO_ANCHORS = (
    "nobody says the anchors of this detector, so it keeps its raw heads and no reader can find "
    "boxes in them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What a file shall end in.

    Attributes:
        heads: Of a detector; ``None`` for what suits it: suppressed boxes, where the anchors are
            known.
        argmax: Whether a segmenter answers class numbers; ``None`` for what the source does.
    """

    heads: Heads | None = None
    argmax: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Body:
    """A deployed network without its ending.

    Attributes:
        data: Bytes of the file.
        ending: What the file ends in; it was taken off where that is possible.
        anchors: (A, 4) of the operation that was taken off, ``None`` without one.
    """

    data: bytes
    ending: Ending = Ending()
    anchors: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finished:
    """A network with its ending.

    Attributes:
        data: Bytes of the file.
        contract: What the file says now.
        ending: What it ends in.
        warnings: What a person should know.
    """

    data: bytes
    contract: Contract
    ending: Ending = Ending()
    warnings: tuple[str, ...] = ()


def take_off_tflite(data: bytes, *, floats: bool = False) -> Body:
    """Take the ending off a ``.tflite``.

    Args:
        data: Bytes of the file.
        floats: Whether quantized heads of a detector come out as floats.

    Raises:
        InvalidModelError: The file is damaged.
    """
    graph = read_tflite(data)
    if any(op.kind is OpKind.DETECTION_POSTPROCESS for op in graph.ops):
        anchors = read_anchors(graph)
        return Body(
            data=detach_postprocess(data, keep_floats=floats),
            ending=Ending(heads=Heads.NMS),
            anchors=anchors if len(anchors) else None,
        )
    if has_postprocess(graph):  # in a form that stays
        return Body(data=data, ending=Ending(heads=Heads.NMS))
    if find_argmax(graph) is not None:
        return Body(data=detach_argmax(data), ending=Ending(argmax=True))
    return Body(data=data)


def take_off_onnx(data: bytes, graph: Graph) -> Body:
    """Take the ending off an ``.onnx`` that edgevision wrote; others stay as they are.

    Args:
        data: Bytes of the file.
        graph: The same, read.
    """
    from edgevision.converters.onnx_endings import detach_ending

    suppresses = has_postprocess(graph)
    if not suppresses and find_argmax(graph) is None:
        return Body(data=data)
    ending = Ending(heads=Heads.NMS) if suppresses else Ending(argmax=True)
    try:
        return Body(data=detach_ending(data), ending=ending)
    except InvalidModelError:
        return Body(data=data, ending=ending)


def put_on(
    data: bytes, graph: Graph, contract: Contract, ending: Ending, *, anchors: Floats | None = None
) -> Finished:
    """Let a bare network end in what is asked for.

    Args:
        data: Bytes of a ``.tflite`` or ``.onnx``.
        graph: The same, read.
        contract: What is known of it.
        ending: What is asked for.
        anchors: (A, 4) in place of the contract's grids.

    Raises:
        InvalidConfigError: The ending does not fit the model.
        InvalidModelError: A detector has no pair of raw heads.
    """
    if contract.task is not Task.DETECT and ending.heads is not None:
        raise InvalidConfigError(
            "only a detector has heads", received=f"heads={ending.heads}, task={contract.task}"
        )
    if contract.task is not Task.SEGMENT and ending.argmax:
        raise InvalidConfigError(
            "only a segmenter answers a class map", received=f"argmax, task={contract.task}"
        )
    if contract.task is Task.DETECT:
        return _finish_detector(data, graph, contract, heads=ending.heads, anchors=anchors)
    if not ending.argmax:
        return Finished(data=data, contract=contract)
    return Finished(data=_add_argmax(data, graph), contract=contract, ending=Ending(argmax=True))


def _finish_detector(
    data: bytes, graph: Graph, contract: Contract, *, heads: Heads | None, anchors: Floats | None
) -> Finished:
    detection = contract.detection or Detection()
    if anchors is not None and not detection.anchors:
        detection = replace(detection, anchors=fit_grids(anchors))
    known = bool(detection.anchors) or anchors is not None
    contract = replace(contract, detection=detection)
    if has_postprocess(graph) or (heads is None and not known):
        return _leave_as_is(data, graph, contract, heads)
    if heads is Heads.RAW:
        _require_grids(detection, known=known)
        return Finished(data=data, contract=contract, ending=Ending(heads=heads))
    return Finished(
        data=_add_nms(data, graph, contract, anchors=None if detection.anchors else anchors),
        contract=replace(contract, scores=ScoreKind.PROBABILITIES),
        ending=Ending(heads=Heads.NMS),
    )


def _leave_as_is(data: bytes, graph: Graph, contract: Contract, heads: Heads | None) -> Finished:
    """Keep a detector whose suppression can not be taken off, or whose anchors nobody knows."""
    if not has_postprocess(graph):
        return Finished(
            data=data, contract=contract, ending=Ending(heads=Heads.RAW), warnings=(_NO_ANCHORS,)
        )
    if heads is Heads.RAW:
        raise InvalidConfigError(
            "the suppression of boxes in this file can not be taken off",
            received="heads=raw",
            remedy="convert from the model that it was made from",
        )
    return Finished(data=data, contract=contract, ending=Ending(heads=Heads.NMS))


def _require_grids(detection: Detection, *, known: bool) -> None:
    """Refuse raw heads whose anchors no contract can hold, though the file had them."""
    if known and not detection.anchors:
        raise InvalidConfigError(
            "raw heads need anchors on regular grids, and this file's lie elsewhere",
            received="heads=raw",
            remedy="use --heads nms",
        )


def _add_nms(data: bytes, graph: Graph, contract: Contract, *, anchors: Floats | None) -> bytes:
    detection = contract.detection or Detection()
    if not detection.anchors and anchors is None:
        raise InvalidConfigError(
            "suppressing boxes needs the detector's anchors, and nobody says them",
            received="heads=nms",
            remedy="use --heads raw",
        )
    logits = contract.scores is ScoreKind.LOGITS
    if graph.format is ModelFormat.ONNX:
        from edgevision.converters.onnx_endings import append_nms

        return append_nms(data, detection, anchors=anchors, logits=logits)
    num_scores = graph.tensors[find_heads(graph)[1]].shape[-1]
    return append_postprocess(
        data, detection, num_scores - detection.background, anchors=anchors, logits=logits
    )


def _add_argmax(data: bytes, graph: Graph) -> bytes:
    if graph.format is ModelFormat.ONNX:
        from edgevision.converters.onnx_endings import append_argmax as append_onnx_argmax

        axis = 1 if graph.inputs and is_channels_first(graph.input_specs()[0]) else 3
        return append_onnx_argmax(data, axis)
    return append_argmax(data)


def extract_nms(data: bytes, model_format: ModelFormat) -> bytes:
    """Cut decoding and suppression out of a finished detector, as a model of its own."""
    if model_format is ModelFormat.ONNX:
        from edgevision.converters.onnx_endings import extract_nms as extract_onnx_nms

        return extract_onnx_nms(data)
    return extract_postprocess(data)


def describe_ending(ending: Ending) -> dict[str, Any]:
    """Return JSON-ready values: what applies to the task."""
    heads = {} if ending.heads is None else {"heads": ending.heads.value}
    return heads | ({} if ending.argmax is None else {"argmax": ending.argmax})
