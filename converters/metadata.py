"""The contract of a converted file: what the source says, what the caller says, what is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevision.contract import Contract, Detection, Preprocessing
from edgevision.graph.contract_completion import DETECTION_FIELDS
from edgevision.graph.contracts import complete_contract, read_contract, read_labels
from edgevision.graph.graph import Graph
from edgevision.specs import ResizeRule, Task, parse_choice

_ENUMS: Mapping[str, Any] = {"task": Task, "resize": ResizeRule}
_PER_PIXEL = ("preprocessing.mean", "preprocessing.std")
_CARRIERS = (".keras", ".tflite", ".onnx")


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check what a caller says about a model before the long work starts.

    Args:
        options: Any of ``task``, ``labels`` (path of a text file), ``mean``, ``std``,
            ``resize``, ``crop_fraction``, and the limits of a detector; ``None`` counts as not
            given.

    Returns:
        What was given, with the label file read.

    Raises:
        InvalidConfigError: An option is out of range.
        MissingFileError: The label file does not exist.

    >>> check_options({"task": "classify", "mean": None})
    {'task': <Task.CLASSIFY: 'classify'>}
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name, kind in _ENUMS.items():
        if name in given:
            given[name] = parse_choice(kind, given[name], name)
    if isinstance(given.get("labels"), str | Path):
        given["labels"] = read_labels(given["labels"])
    for name in ("mean", "std"):
        if isinstance(given.get(name), int | float):
            given[name] = (float(given[name]),)
    fields = ("mean", "std", "resize", "crop_fraction")
    Preprocessing(**{name: given[name] for name in fields if name in given})
    Detection(**{name: given[name] for name in DETECTION_FIELDS if name in given})
    return given


def build_contract(
    source: str | Path,
    graph: Graph,
    *,
    options: Mapping[str, Any],
    preprocessing: Preprocessing | None = None,
) -> Contract:
    """Put the contract of a converted model together.

    Args:
        source: The model it was made from; a contract inside is the starting point.
        graph: The converted model.
        options: What the caller says (``check_options``); it wins over everything else.
        preprocessing: What the network leaves to do, where it normalizes its input itself. Its
            mean and std fill in where the source states none.

    Returns:
        The contract; its ``assumed`` names what nobody stated.

    Raises:
        InvalidConfigError: The options contradict the model, for example 10 labels for 5 classes.
        InvalidModelError: The task can not be told from the outputs.
    """
    path = Path(source)
    stated = read_contract(path) if path.suffix.lower() in _CARRIERS and path.is_file() else None
    known: dict[str, Any] = {} if stated and stated.name else {"name": path.stem}
    if preprocessing is not None and (stated is None or set(_PER_PIXEL) & set(stated.assumed)):
        known |= {"mean": preprocessing.mean, "std": preprocessing.std}
    return complete_contract(stated, graph, {**known, **options})


def describe_assumptions(contract: Contract) -> list[str]:
    """Say in words what a person should check, because nobody stated it."""
    images = contract.preprocessing
    values = {
        "task": contract.task.value,
        "preprocessing.mean": "mean " + ", ".join(f"{v:g}" for v in images.mean),
        "preprocessing.std": "std " + ", ".join(f"{v:g}" for v in images.std),
        "preprocessing.resize": f"resize {images.resize}",
    }
    assumed = [text for name, text in values.items() if name in contract.assumed]
    return [f"nobody stated it, so it was assumed: {', '.join(assumed)}"] if assumed else []
