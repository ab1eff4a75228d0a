"""Constants of ONNX files: views where the format allows, external data included."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.onnx_tables import DTYPES

# Types whose raw bytes NumPy can view; packed and 8-bit float types it can not.
_VIEWABLE = frozenset(
    {
        "float32", "float64", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32",
        "int64", "uint64", "bool", "complex64", "complex128",
    }
)  # fmt: skip


def read_constant(proto: Any, folder: Path) -> np.ndarray[Any, Any] | None:
    """View the values of a ``TensorProto``.

    Args:
        proto: The tensor.
        folder: Where external data lie.

    Returns:
        A read-only array, or ``None`` for element types that NumPy does not know.

    Raises:
        InvalidModelError: Its size does not fit its shape.
        MissingFileError: Its external data are missing.
    """
    dtype = DTYPES.get(proto.data_type, "")
    if dtype not in _VIEWABLE:
        return None
    shape = tuple(int(d) for d in proto.dims)
    little = np.dtype(dtype).newbyteorder("<")
    if proto.data_location == 1:
        return _map_external(proto, folder, little, shape)
    if proto.HasField("raw_data"):
        if len(proto.raw_data) != prod(shape) * little.itemsize:
            raise _wrong_size(proto)
        return np.frombuffer(proto.raw_data, little).reshape(shape)
    try:
        data: np.ndarray[Any, Any] = import_backend("onnx.numpy_helper").to_array(proto)
    except (ValueError, TypeError) as error:
        raise _wrong_size(proto) from error
    data.flags.writeable = False
    return data


def locate_external(proto: Any, folder: Path) -> Path:
    """Return the file that holds a tensor's values.

    Raises:
        InvalidModelError: It lies outside the folder of the model.
        MissingFileError: It does not exist.
    """
    location = next((e.value for e in proto.external_data if e.key == "location"), "")
    base = folder.resolve()
    path = (base / location).resolve()
    if not location or not path.is_relative_to(base):
        raise InvalidModelError(
            "external data must lie beside the model", received=f"{proto.name}: {location!r}"
        )
    if not path.is_file():
        raise MissingFileError(
            "the model's external data are missing",
            received=path,
            remedy="copy the data file beside the .onnx file",
        )
    return path


def _map_external(
    proto: Any, folder: Path, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    path = locate_external(proto, folder)
    entries = {e.key: e.value for e in proto.external_data}
    try:
        offset = int(entries.get("offset", 0))
        if prod(shape) == 0:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape)
    except (ValueError, OSError) as error:
        raise InvalidModelError(
            "the external data do not fit the model", received=f"{path}: {error}"
        ) from error


def _wrong_size(proto: Any) -> InvalidModelError:
    return InvalidModelError(
        "a constant does not have the size that its shape asks for",
        received=f"{proto.name} {list(proto.dims)}",
        remedy="the file is damaged: copy or export it again",
    )
