"""Options of custom operations: FlexBuffers maps of names to numbers and bytes.

Reading needs no package and checks every offset, since the bytes come out of other people's files;
writing takes the builder of ``flatbuffers``. Follows https://flatbuffers.dev/flexbuffers_internals.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

from edgevision.errors import BackendUnavailableError, InvalidModelError
from edgevision.graph.tables import Source

Number = bool | int | float

_INT, _UINT, _FLOAT = 1, 2, 3
_INDIRECT = {6: _INT, 7: _UINT, 8: _FLOAT}
_MAP, _BOOL = 9, 26
_BYTES = (5, 25)  # strings and blobs
_STRUCTS = {
    _INT: {1: Struct("<b"), 2: Struct("<h"), 4: Struct("<i"), 8: Struct("<q")},
    _UINT: {1: Struct("<B"), 2: Struct("<H"), 4: Struct("<I"), 8: Struct("<Q")},
    _FLOAT: {2: Struct("<e"), 4: Struct("<f"), 8: Struct("<d")},
}
_LONGEST_KEY_BYTES = 256


def read_numbers(data: bytes) -> dict[str, Number]:
    """Read the numbers and booleans of a map; its other values are left out.

    Args:
        data: The whole buffer.

    Raises:
        InvalidModelError: It is no map, or damaged.

    >>> read_numbers(write_numbers({"classes": 90, "scale": 0.5, "fast": True}))
    {'classes': 90, 'fast': True, 'scale': 0.5}
    """
    source = Source(data)
    found = dict[str, Number]()
    for name, place in _read_map(source).items():
        value = _read_number(source, place)
        if value is not None:
            found[name] = value
    return found


def read_strings(data: bytes) -> dict[str, bytes]:
    """Read the strings and blobs of a map; its other values are left out.

    Args:
        data: The whole buffer.

    Raises:
        InvalidModelError: It is no map, or damaged.
    """
    source = Source(data)
    found = dict[str, bytes]()
    for name, place in _read_map(source).items():
        if place.packed >> 2 not in _BYTES:
            continue
        start, width = _follow(source, place.position, place.width), 1 << (place.packed & 3)
        size = _read_unsigned(source, start - width, width)
        source.check(start, size)
        source.charge(size)
        found[name] = bytes(source.view[start : start + size])
    return found


def write_numbers(values: Mapping[str, Number]) -> bytes:
    """Write a map of names to numbers and booleans.

    Raises:
        BackendUnavailableError: The ``flatbuffers`` package is missing.
    """
    try:
        from flatbuffers import flexbuffers
    except ImportError as error:
        raise BackendUnavailableError(
            "writing a custom operation needs flatbuffers, which is not installed", extra="tf"
        ) from error
    builder = flexbuffers.Builder()
    with builder.Map():
        for name, value in values.items():
            if isinstance(value, bool):
                builder.Bool(name, value)
            elif isinstance(value, int):
                builder.Int(name, value)
            else:
                builder.Float(name, value)
    return bytes(builder.Finish())


class _Place(NamedTuple):
    """Where a value lies: its bytes, how wide they are, and its type with the width behind it."""

    position: int
    width: int
    packed: int


def _read_map(source: Source) -> dict[str, _Place]:
    """Find the values of the map that is the whole buffer.

    Offset and width of its keys precede its size and its values; the types follow them.
    """
    start, width = _find_map(source)
    size = _read_unsigned(source, start - width, width)
    source.check(start, size * (width + 1))
    source.charge(size)
    keys = _follow(source, start - 3 * width, width)
    key_width = _read_unsigned(source, start - 2 * width, width)
    found: dict[str, _Place] = {}
    for index in range(size):
        name = _read_key(source, _follow(source, keys + index * key_width, key_width))
        packed = source.view[start + size * width + index]
        found[name] = _Place(start + index * width, width, packed)
    return found


def _find_map(source: Source) -> tuple[int, int]:
    """Return the place of the first value, and how many bytes each has."""
    data = source.view
    if len(data) < 3:
        raise InvalidModelError("not a FlexBuffers map", received=f"{len(data)} bytes")
    width, kind = data[-1], data[-2] >> 2
    if kind != _MAP or width not in _STRUCTS[_UINT]:
        raise InvalidModelError("not a FlexBuffers map", received=f"type {kind}, {width} bytes")
    return _follow(source, len(data) - 2 - width, width), 1 << (data[-2] & 3)


def _read_number(source: Source, place: _Place) -> Number | None:
    """Read one value; ``None`` for what is no number."""
    position, width, packed = place
    kind = packed >> 2
    if kind == _BOOL:
        return _read_unsigned(source, position, width) != 0
    if kind in _INDIRECT:
        position, width = _follow(source, position, width), 1 << (packed & 3)
        kind = _INDIRECT[kind]
    if kind not in _STRUCTS:
        return None
    if width not in _STRUCTS[kind]:
        raise InvalidModelError("a number has an impossible width", received=f"{width} bytes")
    value: Number = source.scalar(_STRUCTS[kind][width], position)
    return value


def _follow(source: Source, position: int, width: int) -> int:
    """Return the place that the offset at ``position`` leads back to."""
    target = position - _read_unsigned(source, position, width)
    source.check(target, 1)
    return target


def _read_unsigned(source: Source, position: int, width: int) -> int:
    if width not in _STRUCTS[_UINT]:
        raise InvalidModelError("an offset has an impossible width", received=f"{width} bytes")
    value: int = source.scalar(_STRUCTS[_UINT][width], position)
    return value


def _read_key(source: Source, position: int) -> str:
    text = bytes(source.view[position : position + _LONGEST_KEY_BYTES]).partition(b"\0")[0]
    source.charge(len(text))
    return text.decode("utf-8", "replace")
