"""From a model file to an object that answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.errors import UnsupportedOpError
from edgevision.runtime.sessions import find_runnable_format, open_session
from edgevision.specs import Device, Task, parse_choice
from edgevision.threads import resolve_threads

if TYPE_CHECKING:
    from edgevision.runtime.classify import Classifier


def load(
    path: str | Path, *, device: str = "cpu", threads: int | None = None, **overrides: Any
) -> Classifier:
    """Load a ``.tflite`` or ``.onnx`` classifier with everything it needs to take photos.

    How images are resized and scaled, and what the classes are called, comes from the contract
    in the file. ``classifier.contract.assumed`` names what neither the file nor the caller says.

    Args:
        path: The model file.
        device: ``cpu``; ``gpu`` and ``edgetpu`` come with a later version.
        threads: CPU threads; by default the usable physical cores, at most 4.
        **overrides: Parts of the contract to state over the file's own, ``None`` for the file's:
            ``labels`` (names, or a text file with one a line), ``mean`` and ``std`` (one value or
            one per channel, in units of 0–255 pixels), ``resize`` (``stretch``, ``crop`` or
            ``letterbox``), ``crop_fraction``, ``color`` (``rgb``, ``bgr`` or ``gray``),
            ``scores`` (``probabilities`` or ``logits``), ``task``.

    Returns:
        A classifier. Detectors and segmenters come with a later version.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: The file is damaged, of another format, or its labels do not fit.
        UnsupportedOpError: It is no classifier.
        InvalidConfigError: An override, the device or ``threads`` is out of range.
        DelegateError: The device can not be used.
        BackendUnavailableError: The interpreter for this format is not installed.
    """
    from edgevision.graph.contracts import complete_contract, read_contract
    from edgevision.graph.reader import read_graph
    from edgevision.runtime.classify import Classifier

    # What a person may have mistyped comes before the work of reading the file.
    parse_choice(Device, device, "device")
    resolve_threads(threads)
    find_runnable_format(path)
    graph = read_graph(path)
    contract = complete_contract(read_contract(path), graph, overrides)
    if contract.task is not Task.CLASSIFY:
        raise UnsupportedOpError(
            "this version runs classifiers; detectors and segmenters come with a later one",
            received=f"{path}: task={contract.task}",
            remedy='if it is a classifier, say so with --task classify (task="classify")',
        )
    return Classifier(open_session(path, device=device, threads=threads), contract)
