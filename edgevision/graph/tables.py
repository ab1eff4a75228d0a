"""A small reader of FlatBuffers tables in which every offset is checked against the file.

The generated schema classes of LiteRT take 0.16 s to import, trust every offset and are absent
beside the older ``tflite-runtime``; reading a file needs none of that. Follows the FlatBuffers
binary format, https://flatbuffers.dev/internals.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

import numpy as np

from edgevision.errors import InvalidModelError

_SCALARS = {code: Struct(f"<{code}") for code in "bBhHiIqQfd"}
_U16, _I32, _U32 = (_SCALARS[code] for code in "HiI")

# A sound file refers to each of its bytes about once. A damaged one may point at the same large
# table from many places: the work is bounded by this many times the file's size.
_VISITS_PER_BYTE = 2


class Source:
    """The bytes of one file, with bounds checks and a bound on the work they can cause.

    Args:
        data: The whole file; kept by reference.
    """

    __slots__ = ("_budget_bytes", "view")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
        self._budget_bytes = _VISITS_PER_BYTE * len(self.view) + 4096

    def scalar(self, kind: Struct, position: int) -> Any:
        """Read one number at ``position``.

        Raises:
            InvalidModelError: It lies outside the file.
        """
        self.check(position, kind.size)
        return kind.unpack_from(self.view, position)[0]

    def check(self, position: int, num_bytes: int) -> None:
        """Refuse a range that does not lie inside the file.

        Raises:
            InvalidModelError: It does not.
        """
        if position < 0 or num_bytes < 0 or position + num_bytes > len(self.view):
            raise _damaged(f"bytes {position}+{num_bytes} of {len(self.view)}")

    def charge(self, num_bytes: int) -> None:
        """Count work against the bound.

        Raises:
            InvalidModelError: The file's tables are entangled far beyond its size.
        """
        self._budget_bytes -= num_bytes
        if self._budget_bytes < 0:
            raise _damaged("its tables refer to each other in circles")

    def follow(self, position: int) -> int:
        """Return the place that the unsigned offset stored at ``position`` leads to."""
        target: int = position + self.scalar(_U32, position)
        self.check(target, 4)
        return target

    def vector(self, position: int, item_bytes: int) -> tuple[int, int]:
        """Return the start and number of items of the vector at ``position``."""
        count: int = self.scalar(_U32, position)
        self.check(position + 4, count * item_bytes)
        return position + 4, count


class Table:
    """One table of a FlatBuffers file; fields are read by their slot number.

    Slots are the field numbers of the schema (``id:``), counting a union as two.

    >>> empty = bytes([8, 0, 0, 0, 4, 0, 4, 0, 4, 0, 0, 0])
    >>> table = read_root(empty)
    >>> table.scalar(0, "i", 7), table.text(1), table.tables(2)
    (7, '', [])
    """

    __slots__ = ("_fields", "position", "source")

    def __init__(self, source: Source, position: int) -> None:
        self.source = source
        self.position = position
        vtable = position - source.scalar(_I32, position)
        num_bytes = source.scalar(_U16, vtable)
        source.check(vtable, num_bytes)
        source.charge(4)
        num_fields = max(num_bytes - 4, 0) // 2
        self._fields = np.frombuffer(source.view, "<u2", num_fields, vtable + 4).tolist()

    def find(self, slot: int) -> int:
        """Return the absolute position of a field, or 0 where it is absent."""
        if slot >= len(self._fields) or not self._fields[slot]:
            return 0
        return self.position + int(self._fields[slot])

    def scalar(self, slot: int, kind: str, default: Any) -> Any:
        """Read a number.

        Args:
            slot: Field number.
            kind: Its ``struct`` letter; ``"?"`` for a boolean.
            default: The schema's default, used where the field is absent.
        """
        position = self.find(slot)
        if not position:
            return default
        if kind == "?":
            return self.source.scalar(_SCALARS["B"], position) != 0
        return self.source.scalar(_SCALARS[kind], position)

    def text(self, slot: int) -> str:
        """Read a string; empty where it is absent, undecodable bytes replaced."""
        position = self.find(slot)
        return _read_text(self.source, self.source.follow(position)) if position else ""

    def texts(self, slot: int) -> list[str]:
        """Read a vector of strings."""
        return [_read_text(self.source, p) for p in self._positions(slot)]

    def table(self, slot: int) -> Table | None:
        """Read a sub-table; ``None`` where it is absent."""
        position = self.find(slot)
        return Table(self.source, self.source.follow(position)) if position else None

    def tables(self, slot: int) -> list[Table]:
        """Read a vector of tables; empty where it is absent."""
        return [Table(self.source, p) for p in self._positions(slot)]

    def span(self, slot: int, item_bytes: int = 1) -> tuple[int, int]:
        """Return the absolute start and number of items of a vector; ``(0, 0)`` where absent."""
        position = self.find(slot)
        if not position:
            return 0, 0
        return self.source.vector(self.source.follow(position), item_bytes)

    def numbers(self, slot: int, dtype: str) -> np.ndarray[Any, Any]:
        """View a vector of numbers, without a copy; empty where it is absent.

        Args:
            slot: Field number.
            dtype: NumPy type with its byte order, such as ``"<i4"``.
        """
        start, count = self.span(slot, np.dtype(dtype).itemsize)
        self.source.charge(count)
        return np.frombuffer(self.source.view, dtype, count, start)

    def _positions(self, slot: int) -> Iterator[int]:
        start, count = self.span(slot, 4)
        self.source.charge(count)
        return (self.source.follow(start + 4 * i) for i in range(count))


def read_root(data: bytes | bytearray | memoryview | Source) -> Table:
    """Open the root table of a FlatBuffers file.

    Raises:
        InvalidModelError: The file is too short, or its first offset leads outside.
    """
    source = data if isinstance(data, Source) else Source(data)
    return Table(source, source.follow(0))


def _read_text(source: Source, position: int) -> str:
    start, count = source.vector(position, 1)
    source.charge(count)
    return str(source.view[start : start + count], "utf-8", "replace")


def _damaged(received: str) -> InvalidModelError:
    return InvalidModelError(
        "the file is damaged or cut off: an offset leads outside of it",
        received=received,
        remedy="copy or export it again",
    )
