"""Values on the way from ONNX to TensorFlow, each knowing whether its channels stand last.

ONNX images are NCHW, TensorFlow Lite wants NHWC. A four-dimensional value carries a flag that says
in which order it is stored; an operation asks for the order that it needs. So the transposes at
the ends of a network vanish, and none appear inside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import UnsupportedOpError

TO_LAST = (0, 2, 3, 1)
TO_FIRST = (0, 3, 1, 2)
IMAGE_RANK = 4


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor or constant of the ONNX model.

    Attributes:
        data: A TensorFlow tensor, or a NumPy array for a constant.
        channels_last: Whether ``data`` is stored NHWC although ONNX sees NCHW.
    """

    data: Any
    channels_last: bool = False

    @property
    def constant(self) -> bool:
        """Whether the value is known now."""
        return isinstance(self.data, np.ndarray)

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.data.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as ONNX sees it."""
        stored = tuple(int(d) for d in self.data.shape)
        return tuple(stored[a] for a in TO_FIRST) if self.channels_last else stored

    def first(self) -> Any:
        """Return the data in the order in which ONNX sees it."""
        return permute(self.data, TO_FIRST) if self.channels_last else self.data

    def last(self) -> Any:
        """Return the data with channels last; lower ranks are broadcast to four dimensions."""
        if self.channels_last:
            return self.data
        data, missing = self.data, IMAGE_RANK - self.rank
        if missing:
            data = reshape(data, (1,) * missing + tuple(int(d) for d in data.shape))
        return permute(data, TO_LAST)


def permute(data: Any, axes: Sequence[int]) -> Any:
    """Transpose a tensor or an array."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data.transpose(axes))
    return import_backend("tensorflow").transpose(data, axes)


def reshape(data: Any, shape: Sequence[int]) -> Any:
    """Reshape a tensor or an array."""
    if isinstance(data, np.ndarray):
        return data.reshape(shape)
    return import_backend("tensorflow").reshape(data, shape)


def map_axis(axis: int, value: Value) -> int:
    """Return where ONNX's axis stands in the stored data."""
    axis %= value.rank
    return TO_FIRST[axis] if value.channels_last else axis


def map_rows(rows: Sequence[Any], value: Value) -> list[Any]:
    """Reorder one entry per ONNX axis to the stored order."""
    return [rows[a] for a in TO_LAST] if value.channels_last else list(rows)


def require(inputs: Sequence[Value | None], index: int) -> Value:
    """Return an input that an operation can not do without."""
    value = inputs[index] if index < len(inputs) else None
    if value is None:
        raise UnsupportedOpError("an operation lacks an input", received=f"input {index}")
    return value


def require_constant(inputs: Sequence[Value | None], index: int, what: str) -> Any:
    """Return the array of an input that must be known now."""
    value = require(inputs, index)
    if not value.constant:
        raise UnsupportedOpError(f"{what} must be constant", received="it is computed at run time")
    return value.data
