"""Reads the contract from model files, completes it, and writes it into them.

``.tflite``: standard TFLite Metadata with ``labels.txt``, plus ``edgevision.json`` beside it for
what the standard lacks. ``.onnx``: the property ``edgevision``. ``.keras``: ``edgevision.json`` in
the archive. What edgevision wrote counts more than the standard metadata of others, and these count
more than assumptions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevision.contract import Contract, Preprocessing
from edgevision.errors import InvalidConfigError, InvalidModelError, MissingFileError
from edgevision.graph.archives import read_file, read_files, replace_file
from edgevision.graph.contract_guesses import (
    count_channels,
    count_classes,
    guess_preprocessing,
    guess_scores,
    guess_task,
    is_background,
)
from edgevision.graph.flatbuffer import add_metadata
from edgevision.graph.graph import Graph
from edgevision.graph.onnx_properties import read_properties, write_property
from edgevision.graph.reader import find_format
from edgevision.graph.tflite import map_file, read_metadata, read_tflite
from edgevision.graph.tflite_metadata import (
    CONTRACT_NAME,
    LABELS_NAME,
    METADATA_NAME,
    StandardMetadata,
    decode_metadata,
    encode_metadata,
    format_labels,
    parse_labels,
)
from edgevision.outputs import atomic_path, write_bytes
from edgevision.specs import ModelFormat, ResizeRule, Task, parse_choice

PROPERTY_NAME = "edgevision"

_PREPROCESSING_FIELDS = ("mean", "std", "resize", "crop_fraction", "color")
_CONTRACT_FIELDS = ("task", "labels", "scores", "name")


def read_contract(path: str | Path) -> Contract | None:
    """Read the contract that a model file carries.

    Args:
        path: A ``.tflite``, ``.onnx`` or ``.keras`` file; others carry none.

    Returns:
        The contract, its ``assumed`` naming what the file does not state; ``None`` where the file
        carries no contract at all.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: The file or its contract is damaged.
    """
    place = Path(path)
    reader = _READERS.get(find_format(place))
    return reader(place) if reader is not None else None


def write_contract(path: str | Path, contract: Contract, output: str | Path | None = None) -> None:
    """Write a contract into a model file, in place of the one that it carries.

    Args:
        path: A ``.tflite``, ``.onnx`` or ``.keras`` file.
        contract: What it shall say.
        output: Where the result goes; the file itself where it is ``None``.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: The file is damaged.
        InvalidConfigError: The format carries no contract, or the labels do not fit the model.
        OutputError: The result can not be written.
    """
    place = Path(path)
    writer = _WRITERS.get(find_format(place))
    if writer is None:
        raise InvalidConfigError(
            "a contract can be written into .tflite, .onnx and .keras files only", received=place
        )
    writer(place, contract, Path(output) if output is not None else place)


def attach_contract(
    model: bytes | bytearray, contract: Contract, *, description: str = ""
) -> bytes:
    """Write a contract into the bytes of a ``.tflite`` model.

    Standard metadata and associated files that it has are replaced, never doubled.

    Args:
        model: Bytes of the whole file.
        contract: What it shall say.
        description: What the model does, for people.

    Returns:
        Bytes of the file with the contract.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
        InvalidConfigError: The number of labels does not fit the outputs, or a label can not be
            written into a label file.
    """
    graph = read_tflite(model)
    check_labels(contract, graph)
    files = {CONTRACT_NAME: _format_contract(replace(contract, labels=()))}
    if contract.labels:
        files = {LABELS_NAME: format_labels(contract.labels), **files}
    metadata = encode_metadata(contract, graph, description=description)
    return add_metadata(model, {METADATA_NAME: metadata}, files=files)


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
            ``None`` counts as not given.

    Returns:
        A contract whose ``assumed`` names what nobody stated (such as ``preprocessing.mean``).

    Raises:
        InvalidConfigError: An override is unknown or out of range, or the labels or the stated
            task do not fit the outputs.
        InvalidModelError: The task can not be told from the outputs.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    unknown = given.keys() - {*_PREPROCESSING_FIELDS, *_CONTRACT_FIELDS}
    if unknown:
        raise InvalidConfigError("a contract has no such field", received=sorted(unknown)[0])
    if "task" in given:
        given["task"] = parse_choice(Task, given["task"], "task")
        _check_task(given["task"], graph)
    if "crop_fraction" in given:
        given.setdefault("resize", ResizeRule.CROP)
    if contract is None:
        contract = _assume_contract(graph, given)
    fitted = _fit_labels(_apply_overrides(contract, given), graph)
    check_labels(fitted, graph)
    _check_channels(fitted, graph)
    return fitted


def check_labels(contract: Contract, graph: Graph) -> None:
    """Refuse labels whose number does not fit the outputs.

    Raises:
        InvalidConfigError: There are more or fewer labels than classes.
    """
    num_classes = count_classes(graph, contract.task)
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


def _read_tflite_contract(path: Path) -> Contract | None:
    data = map_file(path)
    standard = read_metadata(data).get(METADATA_NAME)
    files = read_files(path)
    if CONTRACT_NAME in files:
        contract = _parse_contract(files[CONTRACT_NAME], path)
        if LABELS_NAME in files and not contract.labels:
            contract = replace(contract, labels=parse_labels(files[LABELS_NAME]))
        return contract
    metadata = decode_metadata(standard) if standard is not None else StandardMetadata()
    labels = _find_labels(metadata, files)
    if standard is None and not labels:
        return None
    return _translate_metadata(metadata, labels, read_tflite(path))


def _translate_metadata(
    metadata: StandardMetadata, labels: tuple[str, ...], graph: Graph
) -> Contract:
    """Build a contract from standard metadata; ``assumed`` names what they do not state."""
    stated: dict[str, Any] = {"labels": labels or None, "name": metadata.name or None}
    if len(metadata.mean) in (1, 3) and len(metadata.std) in (1, 3) and min(metadata.std) > 0:
        stated |= {"mean": metadata.mean, "std": metadata.std}
    stated["color"] = metadata.color
    stated = {key: value for key, value in stated.items() if value is not None}
    return _apply_overrides(_assume_contract(graph, stated), stated)


def _find_labels(metadata: StandardMetadata, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Take the label file that the metadata name, else one that looks like it."""
    named = [name for name in metadata.label_files if name in files]
    alike = [n for n in files if "label" in n.lower() and n.lower().endswith(".txt")]
    chosen = [*named, *alike]
    return parse_labels(files[chosen[0]]) if chosen else ()


def _read_onnx_contract(path: Path) -> Contract | None:
    text = read_properties(map_file(path)).get(PROPERTY_NAME)
    return _parse_contract(text.encode(), path) if text is not None else None


def _read_keras_contract(path: Path) -> Contract | None:
    content = read_file(path, CONTRACT_NAME)
    return _parse_contract(content, path) if content is not None else None


def _write_tflite_contract(path: Path, contract: Contract, output: Path) -> None:
    write_bytes(output, attach_contract(bytes(map_file(path)), contract))


def _write_onnx_contract(path: Path, contract: Contract, output: Path) -> None:
    text = _format_contract(contract).decode()
    write_bytes(output, write_property(bytes(map_file(path)), PROPERTY_NAME, text))


def _write_keras_contract(path: Path, contract: Contract, output: Path) -> None:
    with atomic_path(output) as temporary:
        replace_file(path, CONTRACT_NAME, _format_contract(contract), temporary)


_READERS = {
    ModelFormat.TFLITE: _read_tflite_contract,
    ModelFormat.ONNX: _read_onnx_contract,
    ModelFormat.KERAS: _read_keras_contract,
}
_WRITERS = {
    ModelFormat.TFLITE: _write_tflite_contract,
    ModelFormat.ONNX: _write_onnx_contract,
    ModelFormat.KERAS: _write_keras_contract,
}


def _format_contract(contract: Contract) -> bytes:
    return json.dumps(contract.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()


def _parse_contract(content: bytes, path: Path) -> Contract:
    try:
        return Contract.from_dict(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise InvalidModelError(
            "the contract in the model file is damaged",
            received=f"{path}: {error}",
            remedy="convert the model again",
        ) from error


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


def _assume_contract(graph: Graph, given: Mapping[str, Any]) -> Contract:
    """Build a contract of which only what ``given`` will set is not assumed."""
    specs = graph.input_specs()
    return Contract(
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


def _apply_overrides(contract: Contract, given: Mapping[str, Any]) -> Contract:
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
    num_classes = count_classes(graph, contract.task)
    with_background = bool(labels) and is_background(labels[0])
    if len(labels) == 1000 and num_classes == 1001 and not with_background:
        labels = ("background", *labels)
    elif with_background and len(labels) == num_classes + 1 and num_classes > 0:
        labels = labels[1:]
    if labels == contract.labels:
        return contract
    return replace(contract, labels=labels, assumed=(*contract.assumed, "labels"))
