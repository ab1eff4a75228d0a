"""Reads a model file of any known format into the ``Graph``."""

from __future__ import annotations

from pathlib import Path

from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.graph import Graph
from edgevision.graph.tflite_schema import IDENTIFIER
from edgevision.specs import ModelFormat

_SUFFIXES = {
    ".tflite": ModelFormat.TFLITE,
    ".onnx": ModelFormat.ONNX,
    ".keras": ModelFormat.KERAS,
    ".h5": ModelFormat.H5,
    ".hdf5": ModelFormat.H5,
}
# First bytes, from an offset, by which a file is known. ONNX has none.
_MAGICS = (
    (4, IDENTIFIER, ModelFormat.TFLITE),
    (0, b"\x89HDF\r\n\x1a\n", ModelFormat.H5),
    (0, b"PK\x03\x04", ModelFormat.KERAS),
)


def find_format(path: str | Path) -> ModelFormat:
    """Tell the format of a model by its name, or by its first bytes where the name says nothing.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is no known model format.
    """
    source = Path(path)
    if not source.exists():
        raise MissingFileError(
            "there is no such model file", received=source, remedy="check the path"
        )
    if source.is_dir():
        return _find_folder_format(source)
    if source.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[source.suffix.lower()]
    found = sniff_format(source)
    if found is not None:
        return found
    raise InvalidModelError(
        "not a known model format",
        received=source,
        remedy="expected " + ", ".join(_SUFFIXES),
    )


def sniff_format(path: Path) -> ModelFormat | None:
    """Tell what a file holds by its first bytes alone; ``None`` for anything without a mark."""
    with path.open("rb") as file:
        head = file.read(16)
    found = (f for offset, magic, f in _MAGICS if head[offset : offset + len(magic)] == magic)
    return next(found, None)


def read_graph(path: str | Path) -> Graph:
    """Read a ``.tflite``, ``.onnx``, ``.keras`` or ``.h5`` file.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is damaged, of no known format, or a SavedModel folder, which holds
            traced functions rather than a model.
        UnsupportedOpError: A Keras file holds a Python lambda or an unknown layer.
        BackendUnavailableError: The extra that reads this format is not installed.
    """
    model_format = find_format(path)
    if model_format is ModelFormat.TFLITE:
        from edgevision.graph.tflite import read_tflite

        return read_tflite(path)
    if model_format is ModelFormat.ONNX:
        from edgevision.graph.onnx import read_onnx

        return read_onnx(path)
    from edgevision.graph.keras import read_keras

    return read_keras(path)


def _find_folder_format(source: Path) -> ModelFormat:
    if (source / "saved_model.pb").is_file():
        return ModelFormat.SAVED_MODEL
    raise InvalidModelError(
        "a folder is not a model", received=source, remedy="name a model file inside it"
    )
