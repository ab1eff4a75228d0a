"""The ``metadata_props`` of an ``.onnx`` file, read and written without the ONNX package.

An ONNX file is one protocol buffer message; its properties are field 14 of ``ModelProto``
(https://onnx.ai/onnx/repo-docs/IR.html). The network itself is passed over untouched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgevision.errors import InvalidModelError

_PROPERTIES_FIELD = 14
_GRAPH_FIELD = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: its number, its place, and the place of its content."""

    number: int
    start: int
    content: int
    end: int


def read_properties(data: bytes | memoryview) -> dict[str, str]:
    """Read the properties of an ONNX model.

    Raises:
        InvalidModelError: The data are no ONNX model, or damaged.
    """
    found = {}
    for field in _list_model_fields(data):
        if field.number == _PROPERTIES_FIELD:
            key, value = _read_property(data, field)
            found[key] = value
    return found


def write_property(data: bytes, key: str, value: str) -> bytes:
    """Add a property to an ONNX model, in place of one of the same name.

    >>> model = bytes([8, 9, 58, 0])  # IR version 9 and an empty graph
    >>> read_properties(write_property(write_property(model, "a", "1"), "a", "2"))
    {'a': '2'}

    Raises:
        InvalidModelError: The data are no ONNX model, or damaged.
    """
    kept = [
        data[field.start : field.end]
        for field in _list_model_fields(data)
        if field.number != _PROPERTIES_FIELD or _read_property(data, field)[0] != key
    ]
    entry = b"".join(_pack_text(i, text) for i, text in ((1, key), (2, value)))
    return b"".join([*kept, _pack_bytes(_PROPERTIES_FIELD, entry)])


def _list_model_fields(data: bytes | memoryview) -> list[_Field]:
    fields = list(_walk_fields(data, 0, len(data)))
    if not any(field.number == _GRAPH_FIELD for field in fields):
        raise _damaged("no graph")
    return fields


def _read_property(data: bytes | memoryview, field: _Field) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for part in _walk_fields(data, field.content, field.end):
        texts[part.number] = str(data[part.content : part.end], "utf-8", "replace")
    return texts[1], texts[2]


def _walk_fields(data: bytes | memoryview, position: int, end: int) -> Iterator[_Field]:
    while position < end:
        start = position
        tag, position = _read_varint(data, position, end)
        number, kind = tag >> 3, tag & 7
        content = position
        if kind == _VARINT:
            _, position = _read_varint(data, position, end)
        elif kind == _BYTES:
            size, content = _read_varint(data, position, end)
            position = content + size
        elif kind in _FIXED_BYTES:
            position += _FIXED_BYTES[kind]
        else:
            raise _damaged(f"wire type {kind} at byte {start}")
        if position > end or not number:
            raise _damaged(f"byte {start} of {len(data)}")
        yield _Field(number, start, content, position)


def _read_varint(data: bytes | memoryview, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise _damaged(f"byte {position} of {len(data)}")


def _pack_text(number: int, text: str) -> bytes:
    return _pack_bytes(number, text.encode())


def _pack_bytes(number: int, content: bytes) -> bytes:
    return _pack_varint(number << 3 | _BYTES) + _pack_varint(len(content)) + content


def _pack_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _damaged(received: str) -> InvalidModelError:
    return InvalidModelError(
        "this is not an ONNX model, or a damaged one",
        received=received,
        remedy="check the file, or export the model again",
    )
