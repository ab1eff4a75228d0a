"""From a model file to an object that answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.errors import InvalidConfigError, MissingFileError, UnsupportedOpError
from edgevision.runtime.sessions import detect_format, open_session, parse_device
from edgevision.runtime.threads import resolve_threads
from edgevision.specs import Task

if TYPE_CHECKING:
    from edgevision.runtime.classify import Classifier

OVERRIDES = ("task", "labels", "mean", "std", "resize", "crop_fraction", "color", "scores")
"""Parts of the contract that a caller may state over what the file says."""


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

    parse_device(device)
    resolve_threads(threads)
    detect_format(Path(path))
    stated = read_overrides(overrides)
    contract = complete_contract(read_contract(path), read_graph(path), stated)
    if contract.task is not Task.CLASSIFY:
        raise UnsupportedOpError(
            "this version runs classifiers; detectors and segmenters come with a later one",
            received=f"{path}: task={contract.task}",
            remedy="if it is a classifier, say so with task=classify",
        )
    return Classifier(open_session(path, device=device, threads=threads), contract)


def read_overrides(overrides: dict[str, Any]) -> dict[str, Any]:
    """Drop what is ``None`` and read the labels where they are given as a file.

    Raises:
        InvalidConfigError: There is no such part of a contract.
        MissingFileError: The file of labels does not exist.

    >>> read_overrides({"mean": None, "labels": ("cat", "dog")})
    {'labels': ('cat', 'dog')}
    """
    unknown = sorted(set(overrides) - set(OVERRIDES))
    if unknown:
        raise InvalidConfigError(
            "unknown option", received=unknown[0], remedy=f"use one of {', '.join(OVERRIDES)}"
        )
    stated = {name: value for name, value in overrides.items() if value is not None}
    if "labels" in stated:
        stated["labels"] = read_labels(stated["labels"])
    return stated


def read_labels(labels: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return class names from a list, or from a text file with one a line.

    Raises:
        MissingFileError: The file does not exist.
        InvalidConfigError: It holds no text.
    """
    if not isinstance(labels, str | Path):
        return tuple(str(label) for label in labels)
    try:
        text = Path(labels).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError("there is no such file of labels", received=labels) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfigError(
            "labels are a UTF-8 text file with one name a line", received=f"{labels}: {error}"
        ) from error
    return tuple(line.strip() for line in text.strip().splitlines())
