"""Reads the contract from model files, completes it, and writes it into them.

``.tflite``: standard TFLite Metadata with ``labels.txt``, plus ``edgevision.json`` beside it for
what the standard lacks. ``.onnx``: the property ``edgevision``. ``.keras``: ``edgevision.json`` in
the archive. What edgevision wrote counts more than the standard metadata of others, and these count
more than assumptions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgevision.contract import Contract
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.archives import read_file, read_files, replace_file
from edgevision.graph.contract_completion import (
    apply_overrides,
    assume_contract,
    check_labels,
    complete_contract,
    read_labels,
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
from edgevision.specs import ModelFormat

__all__ = [
    "PROPERTY_NAME",
    "attach_contract",
    "check_labels",
    "complete_contract",
    "read_contract",
    "read_labels",
    "write_contract",
]

PROPERTY_NAME = "edgevision"


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


def attach_onnx_contract(data: bytes, contract: Contract) -> bytes:
    """Return an ``.onnx`` with a contract, in place of one that it has."""
    return write_property(data, PROPERTY_NAME, _format_contract(contract).decode())


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
    return apply_overrides(assume_contract(graph, stated), stated)


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
    write_bytes(output, attach_onnx_contract(bytes(map_file(path)), contract))


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
