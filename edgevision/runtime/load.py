"""From a model file to an object that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.errors import InvalidConfigError
from edgevision.runtime.sessions import find_runnable_format, open_session
from edgevision.specs import Device, Task, parse_choice
from edgevision.threads import resolve_threads

if TYPE_CHECKING:
    from edgevision.contract import Contract, Detection
    from edgevision.graph.graph import Graph
    from edgevision.runtime.classify import Classifier
    from edgevision.runtime.detect import Detector
    from edgevision.runtime.segment import Segmenter
    from edgevision.runtime.session import Session


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    gpu_float32: bool = False,
    **overrides: Any,
) -> Classifier | Detector | Segmenter:
    """Load a ``.tflite`` or ``.onnx`` model with everything it needs to take photos.

    How images are resized and scaled, what the outputs mean and what the classes are called,
    comes from the contract in the file. ``contract.assumed`` of what is returned names what
    neither the file nor the caller says.

    Args:
        path: The model file.
        device: ``cpu``, ``gpu`` or ``edgetpu``.
        threads: CPU threads; by default the usable physical cores, at most 4.
        gpu_float32: Whether the GPU computes in float32 where it would take float16.
        **overrides: Parts of the contract to state over the file's own, ``None`` for the file's:
            ``labels`` (names, or a text file with one a line), ``mean`` and ``std`` (one value or
            one per channel, in units of 0–255 pixels), ``resize`` (``stretch``, ``crop`` or
            ``letterbox``), ``crop_fraction``, ``color`` (``rgb``, ``bgr`` or ``gray``),
            ``scores`` (``probabilities`` or ``logits``), ``task``; of a detector also
            ``score_threshold`` and ``max_detections``, and where the file leaves suppression to
            its reader ``iou_threshold`` and ``class_agnostic``; a file that suppresses boxes
            itself can be told stricter limits only.

    Returns:
        A ``Classifier``, ``Detector`` or ``Segmenter``, as the contract's task says.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: The file is damaged, of another format, or its outputs, labels or
            anchors do not fit its task.
        UnsupportedOpError: It has more inputs or outputs than its task takes.
        InvalidConfigError: An override, the device or ``threads`` is out of range.
        DelegateError: The device can not be used.
        BackendUnavailableError: The interpreter for this format is not installed.
    """
    from edgevision.graph.contract_completion import DETECTION_FIELDS
    from edgevision.graph.contracts import complete_contract, read_contract
    from edgevision.graph.detection_heads import has_postprocess
    from edgevision.graph.reader import read_graph

    # What a person may have mistyped comes before the work of reading the file.
    parse_choice(Device, device, "device")
    resolve_threads(threads)
    find_runnable_format(path)
    graph = read_graph(path)
    stated = read_contract(path)
    contract = complete_contract(stated, graph, overrides)
    bare = {key: value for key, value in overrides.items() if key not in DETECTION_FIELDS}
    if len(bare) < len(overrides) and has_postprocess(graph):
        _check_limits(complete_contract(stated, graph, bare).detection, contract.detection)
    session = open_session(path, device=device, threads=threads, gpu_float32=gpu_float32)
    return create_predictor(session, contract, graph)


def _check_limits(own: Detection | None, wanted: Detection | None) -> None:
    """Refuse what the suppression inside a file can not do: it follows its own limits."""
    if own is None or wanted is None:
        return
    ignored = {
        "iou_threshold": wanted.iou_threshold != own.iou_threshold,
        "class_agnostic": wanted.class_agnostic != own.class_agnostic,
        "score_threshold": wanted.score_threshold < own.score_threshold,
        "max_detections": wanted.max_detections > own.max_detections,
    }
    name = next((name for name, told in ignored.items() if told), None)
    if name is not None:
        raise InvalidConfigError(
            "the file suppresses boxes itself, by its own limits",
            received=f"{name}={getattr(wanted, name)}, the file has {getattr(own, name)}",
            remedy="convert it with the other limit, or with --heads raw",
        )


def create_predictor(
    session: Session, contract: Contract, graph: Graph
) -> Classifier | Detector | Segmenter:
    """Join a session and its contract into what answers for the contract's task.

    Only what the task needs is imported: a device waits for every module.

    Raises:
        InvalidModelError: Outputs, labels or anchors do not fit the task.
        UnsupportedOpError: The model has more inputs or outputs than its task takes.
    """
    if contract.task is Task.DETECT:
        from edgevision.runtime.detect import Detector

        return Detector(session, contract, graph)
    if contract.task is Task.SEGMENT:
        from edgevision.runtime.segment import Segmenter

        return Segmenter(session, contract)
    from edgevision.runtime.classify import Classifier

    return Classifier(session, contract)
