"""Completes the contract of a model: what its network tells, and what the caller states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevision.contract import Contract, Detection, Preprocessing
from edgevision.errors import InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.graph.contract_guesses import (
    count_channels,
    count_classes,
    guess_detection,
    guess_preprocessing,
    guess_scores,
    guess_task,
    is_background,
)
from edgevision.graph.graph import Graph
from edgevision.graph.tflite_metadata import parse_labels
from edgevision.specs import ResizeRule, Task, parse_choice

_PREPROCESSING_FIELDS = ("mean", "std", "resize", "crop_fraction", "color")
_CONTRACT_FIELDS = ("task", "labels", "scores", "name")
DETECTION_FIELDS = ("score_threshold", "iou_threshold", "max_detections", "class_agnostic")
"""Parts of ``Detection`` that a caller may state: what suits the task, and not the network."""


def complete_contract(
    contract: Contract | None, graph: Graph, overrides: Mapping[str, Any]
) -> Contract:
    """Fill in what a file does not state, and apply what the caller states.

    Args:
        contract: What the file carries, if anything.
        graph: The network.
        overrides: Any of ``task``, ``labels`` (a sequence, or the path of a label file), ``mean``,
            ``std`` (a number or one per channel, in units of 0–255 pixels), ``resize``,
            ``crop_fraction`` (alone, it means ``resize=crop``), ``color``, ``scores``, ``name``;
            of a detector also ``score_threshold``, ``iou_threshold``, ``max_detections`` and
            ``class_agnostic``. ``None`` counts as not given.

    Returns:
        A contract whose ``assumed`` names what nobody stated (such as ``preprocessing.mean``).

    Raises:
        InvalidConfigError: An override is unknown or out of range, or the labels or the stated
            task do not fit the outputs.
        InvalidModelError: The task can not be told from the outputs.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    unknown = given.keys() - {*_PREPROCESSING_FIELDS, *_CONTRACT_FIELDS, *DETECTION_FIELDS}
    if unknown:
        raise InvalidConfigError("a contract has no such field", received=sorted(unknown)[0])
    if "task" in given:
        given["task"] = parse_choice(Task, given["task"], "task")
        _check_task(given["task"], graph)
    if "crop_fraction" in given:
        given.setdefault("resize", ResizeRule.CROP)
    if contract is None:
        contract = assume_contract(graph, given)
    changed = _state_detection(apply_overrides(contract, given), graph, given)
    fitted = _fit_labels(changed, graph)
    check_labels(fitted, graph)
    _check_channels(fitted, graph)
    return fitted


def check_labels(contract: Contract, graph: Graph) -> None:
    """Refuse labels whose number does not fit the outputs.

    Raises:
        InvalidConfigError: There are more or fewer labels than classes.
    """
    num_classes = _count_classes(contract, graph)
    if not contract.labels or num_classes <= 0 or len(contract.labels) == num_classes:
        return
    raise InvalidConfigError(
        "the model needs one label for each of its classes",
        received=f"{len(contract.labels)} labels, {num_classes} classes",
        remedy="give a label file in the order of the outputs, with a line for the background "
        "where the model has that class",
    )


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read a label file: one label per line, UTF-8.

    Raises:
        MissingFileError: There is no such file.
        InvalidConfigError: It is not text, or has no label.
    """
    place = Path(path)
    if not place.is_file():
        raise MissingFileError(
            "there is no such label file", received=place, remedy="check the path"
        )
    try:
        labels = parse_labels(place.read_bytes())
    except InvalidModelError as error:
        raise InvalidConfigError(error.what, received=f"{place}: {error.received}") from error
    if not labels:
        raise InvalidConfigError("the label file has no label", received=place)
    return labels


def _check_channels(contract: Contract, graph: Graph) -> None:
    """Refuse a value per colour channel for a model that takes gray images."""
    specs = graph.input_specs()
    num_values = max(len(contract.preprocessing.mean), len(contract.preprocessing.std))
    if specs and count_channels(specs[0]) == 1 and num_values > 1:
        raise InvalidConfigError(
            "mean and std take one value each: the model takes gray images",
            received=f"{num_values} values",
        )


def _check_task(task: Task, graph: Graph) -> None:
    """Refuse to call a plain classifier, one row of scores, anything else.

    Other outputs leave room for doubt (a map of 1x1 may be a classifier's), so they are believed.
    """
    try:
        told = guess_task(graph)
    except InvalidModelError:
        return
    if told is Task.CLASSIFY and task is not told:
        raise InvalidConfigError(
            "the model's outputs are those of another task",
            received=f"task={task}; the outputs say {told}",
            remedy="leave the task out, or check that this is the right file",
        )


def assume_contract(graph: Graph, given: Mapping[str, Any]) -> Contract:
    """Build a contract of which only what ``given`` will set is not assumed.

    Raises:
        InvalidModelError: The task can not be told from the outputs.
    """
    specs = graph.input_specs()
    contract = Contract(
        task=given["task"] if "task" in given else guess_task(graph),
        preprocessing=guess_preprocessing(specs[0] if specs else None),
        scores=guess_scores(graph),
        assumed=(
            "task",
            "scores",
            "preprocessing.resize",
            "preprocessing.mean",
            "preprocessing.std",
            "preprocessing.color",
        ),
    )
    return _add_detection(contract, graph)


def apply_overrides(contract: Contract, given: Mapping[str, Any]) -> Contract:
    """Put what a caller states, named as for ``complete_contract``, into a contract.

    Raises:
        InvalidConfigError: A value is out of range.
    """
    inner = {key: given[key] for key in _PREPROCESSING_FIELDS if key in given}
    outer = {key: given[key] for key in _CONTRACT_FIELDS if key in given}
    inner |= {key: _as_values(inner[key]) for key in ("mean", "std") if key in inner}
    if isinstance(outer.get("labels"), str | Path):
        outer["labels"] = read_labels(outer["labels"])
    stated = {*outer, *(f"preprocessing.{key}" for key in inner)}
    try:
        preprocessing: Preprocessing = replace(contract.preprocessing, **inner)
        return replace(
            contract,
            **outer,
            preprocessing=preprocessing,
            assumed=tuple(name for name in contract.assumed if name not in stated),
        )
    except InvalidConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidConfigError("a contract field is out of range", received=error) from error


def _as_values(value: float | Sequence[float]) -> tuple[float, ...]:
    return (float(value),) if isinstance(value, int | float) else tuple(value)


def _fit_labels(contract: Contract, graph: Graph) -> Contract:
    """Reconcile lists that differ by the background class only.

    ImageNet has 1,000 classes; the older TensorFlow models answer 1,001 with the background first,
    and their label files come with and without it. Other differences are errors.
    """
    labels = contract.labels
    num_classes = _count_classes(contract, graph)
    with_background = bool(labels) and is_background(labels[0])
    if len(labels) == 1000 and num_classes == 1001 and not with_background:
        labels = ("background", *labels)
    elif with_background and len(labels) == num_classes + 1 and num_classes > 0:
        labels = labels[1:]
    if labels == contract.labels:
        return contract
    return replace(contract, labels=labels, assumed=(*contract.assumed, "labels"))


def _count_classes(contract: Contract, graph: Graph) -> int:
    background = contract.detection is None or contract.detection.background
    return count_classes(graph, contract.task, background=background)


def _state_detection(contract: Contract, graph: Graph, given: Mapping[str, Any]) -> Contract:
    """Give a detector what turns its outputs into boxes, with the caller's limits."""
    stated = {key: given[key] for key in DETECTION_FIELDS if key in given}
    if contract.task is not Task.DETECT:
        if stated:
            raise InvalidConfigError(
                "only a detector suppresses boxes",
                received=f"{next(iter(stated))}, task={contract.task}",
                remedy="leave it out",
            )
        return contract if contract.detection is None else replace(contract, detection=None)
    contract = _fit_background(_add_detection(contract, graph), graph)
    try:
        limited: Detection = replace(contract.detection or Detection(), **stated)
    except InvalidConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidConfigError("a contract field is out of range", received=error) from error
    return replace(contract, detection=limited)


def _fit_background(contract: Contract, graph: Graph) -> Contract:
    """Let the number of labels tell whether raw scores begin with the background, if nobody says.

    Such a detector has one score more than labels, unless it knows no background.
    """
    detection = contract.detection
    if detection is None or "detection" not in contract.assumed or not contract.labels:
        return contract
    bare = len(contract.labels) == count_classes(graph, contract.task, background=False)
    if not bare or is_background(contract.labels[0]):
        return contract
    return replace(contract, detection=replace(detection, background=False))


def _add_detection(contract: Contract, graph: Graph) -> Contract:
    """Fill in how a detector's outputs become boxes, where nothing says so yet."""
    if contract.task is not Task.DETECT or contract.detection is not None:
        return contract
    detection, told = guess_detection(graph)
    assumed = contract.assumed if told else (*contract.assumed, "detection")
    return replace(contract, detection=detection, assumed=assumed)
