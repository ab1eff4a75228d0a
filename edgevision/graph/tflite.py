"""Reads ``.tflite`` files into the ``Graph``, without any TensorFlow or LiteRT package.

Follows ``schema.fbs`` of TensorFlow Lite, version 3. Constants stay where they are in the file:
in the flatbuffer, or behind it as newer writers put them.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.tables import Source, Table, read_root
from edgevision.graph.tflite_attributes import read_attributes
from edgevision.graph.tflite_schema import (
    CUSTOM_CODE,
    IDENTIFIER,
    PLACEHOLDER_CODE,
    RAW_TYPES,
    TENSOR_TYPES,
    classify_op,
    name_builtin,
)
from edgevision.specs import ModelFormat, Quantization

Item = TypeVar("Item")

Span = tuple[int, int]
Signatures = dict[str, tuple[Mapping[str, int], Mapping[str, int]]]

# First bytes of what people really find under the name of a model -> what it is, what to do.
_LOOKALIKES: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run `git lfs pull`"),
    (b"<", "a web page or XML, not a model", "the download failed: fetch the raw file"),
    (b"PK\x03\x04", "a zip archive (.keras, .task or .zip)", "name or unpack it as what it is"),
    (b"\x89HDF", "a Keras .h5 file", "convert it to .tflite first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"{", "a JSON text, not a model", "export the model again"),
)


def is_tflite(data: bytes | memoryview) -> bool:
    """Whether the first bytes of a file are those of a TFLite model.

    >>> is_tflite(bytes(4) + b"TFL3"), is_tflite(b"no model")
    (True, False)
    """
    return bytes(data[4:8]) == IDENTIFIER


def read_tflite(source: str | Path | bytes | bytearray) -> Graph:
    """Read a ``.tflite`` model.

    A file is mapped, not loaded, and constants are views into the mapping: replace a file that
    is in use (as every writer of this package does) instead of overwriting it.

    Args:
        source: A path, or the bytes of a whole file.

    Returns:
        The main subgraph; the others are its ``subgraphs``. Operations that only pass constants
        on (such as the ``DEQUANTIZE`` of float16 weights) stay as they are in the file.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is not a TFLite model, or is damaged.
    """
    if isinstance(source, bytes | bytearray):
        # A bytearray may change later; the graph must not.
        return _Reader(open_model(bytes(source))).read()
    data = map_file(source)
    try:
        return replace(_Reader(open_model(data)).read(), name=Path(source).stem)
    except InvalidModelError as error:
        raise InvalidModelError(
            error.what, received=f"{source}: {error.received}", remedy=error.remedy
        ) from error


def map_file(path: str | Path) -> memoryview:
    """Map a file read-only into memory.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is a folder, empty, or can not be read.
    """
    try:
        with Path(path).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise MissingFileError(
            "there is no such model file", received=path, remedy="check the path"
        ) from error
    except ValueError as error:
        raise InvalidModelError(
            "the model file is empty", received=path, remedy="copy or export it again"
        ) from error
    except OSError as error:
        raise InvalidModelError(
            "the model file can not be read", received=f"{path}: {error.strerror}"
        ) from error


def open_model(data: bytes | memoryview) -> Table:
    """Open the root table of a TFLite model.

    Raises:
        InvalidModelError: The data are something else, empty or cut off.
    """
    if not is_tflite(data):
        raise _explain_foreign(bytes(data[:64]))
    return read_root(Source(data))


def locate_buffers(model: Table) -> list[Span]:
    """Return start and number of bytes of every buffer, in either layout; ``(0, 0)`` if empty."""
    return [_locate_buffer(buffer) for buffer in model.tables(4)]


def read_metadata(data: bytes | memoryview) -> dict[str, bytes]:
    """Read the named metadata buffers of a TFLite model.

    Raises:
        InvalidModelError: The data are not a TFLite model, or damaged.
    """
    model = open_model(data)
    spans = locate_buffers(model)
    found = {}
    for entry in model.tables(6):
        start, count = _pick(spans, entry.scalar(1, "I", 0), "metadata buffer")
        found[entry.text(0)] = bytes(data[start : start + count])
    return found


class _Reader:
    """Reads one model; keeps the tables that all of its subgraphs share."""

    def __init__(self, model: Table) -> None:
        self._model = model
        self._view = model.source.view
        self._buffers = locate_buffers(model)
        self._codes = [_name_code(code) for code in model.tables(1)]
        self._kinds = {name: classify_op(name) for name in set(self._codes)}

    def read(self) -> Graph:
        tables = self._model.tables(2)
        if not tables:
            raise InvalidModelError("the model has no subgraph", received="0 subgraphs")
        signatures = self._read_signatures(len(tables))
        others = tuple(
            self._read_subgraph(table, signatures.get(i, {}))
            for i, table in enumerate(tables[1:], start=1)
        )
        return self._read_subgraph(tables[0], signatures.get(0, {}), others)

    def _read_subgraph(
        self, table: Table, signatures: Signatures, others: tuple[Graph, ...] = ()
    ) -> Graph:
        tensors = tuple(self._read_tensor(i, t) for i, t in enumerate(table.tables(0)))
        _check_signatures(signatures, len(tensors))
        return Graph(
            name=table.text(4) or "main",
            tensors=tensors,
            ops=tuple(self._read_op(i, t, tensors) for i, t in enumerate(table.tables(3))),
            inputs=_read_indices(table, 1, len(tensors)),
            outputs=_read_indices(table, 2, len(tensors)),
            format=ModelFormat.TFLITE,
            subgraphs=others,
            file_bytes=len(self._view),
            signatures=signatures,
        )

    def _read_signatures(self, num_subgraphs: int) -> dict[int, Signatures]:
        found: dict[int, Signatures] = {}
        for table in self._model.tables(7):
            subgraph = table.scalar(4, "I", 0)
            if subgraph >= num_subgraphs:
                raise _out_of_range("signature subgraph", subgraph, num_subgraphs)
            names = tuple({m.text(0): m.scalar(1, "I", 0) for m in table.tables(s)} for s in (0, 1))
            found.setdefault(subgraph, {})[table.text(2)] = (names[0], names[1])
        return found

    def _read_tensor(self, index: int, table: Table) -> Tensor:
        code = table.scalar(1, "b", 0)
        if code not in TENSOR_TYPES:
            raise InvalidModelError("a tensor has an unknown type", received=f"type={code}")
        dtype, stored = TENSOR_TYPES[code]
        shape = _read_shape(table)
        span = _pick(self._buffers, table.scalar(2, "I", 0), "buffer")
        sparse = table.find(6) != 0
        data = None if sparse or not span[1] else self._view_constant(span, dtype, stored, shape)
        return Tensor(
            index=index,
            name=table.text(3),
            shape=shape,
            dtype=dtype,
            data=data,
            constant=span[1] > 0 or table.scalar(10, "I", 0) > 0,
            quantization=_read_quantization(table.table(4)),
        )

    def _view_constant(
        self, span: Span, dtype: str, stored: str, shape: tuple[int, ...]
    ) -> np.ndarray[Any, Any]:
        start, num_bytes = span
        item_bytes = np.dtype(stored).itemsize
        if dtype in RAW_TYPES:
            return np.frombuffer(self._view, "u1", num_bytes, start)
        if num_bytes != prod(shape) * item_bytes:
            raise InvalidModelError(
                "a constant does not have the size that its shape asks for",
                received=f"{num_bytes} bytes for {dtype}{list(shape)}",
                remedy="the file is damaged: copy or export it again",
            )
        return np.frombuffer(self._view, stored, num_bytes // item_bytes, start).reshape(shape)

    def _read_op(self, index: int, table: Table, tensors: Sequence[Tensor]) -> Op:
        name = _pick(self._codes, table.scalar(0, "I", 0), "operator code")
        inputs = _read_indices(table, 1, len(tensors))
        read = [tensors[i] if i >= 0 else None for i in inputs]
        custom = name.startswith("CUSTOM:")
        return Op(
            index=index,
            kind=self._kinds[name],
            name=name,
            inputs=inputs,
            outputs=_read_indices(table, 2, len(tensors)),
            attributes=self._read_custom(table)
            if custom
            else read_attributes(name, table.table(4), read),
        )

    def _read_custom(self, table: Table) -> dict[str, Any]:
        """Return the options of a custom operation: bytes that only its author understands."""
        start, count = table.span(5)
        if not count and table.scalar(9, "Q", 0) > 1:
            start, count = table.scalar(9, "Q", 0), table.scalar(10, "Q", 0)
            table.source.check(start, count)
        table.source.charge(count)
        return {"custom_options": bytes(self._view[start : start + count])}


def _check_signatures(signatures: Signatures, num_tensors: int) -> None:
    """Refuse signatures that name tensors which do not exist."""
    for inputs, outputs in signatures.values():
        for index in (*inputs.values(), *outputs.values()):
            if index >= num_tensors:
                raise _out_of_range("signature tensor", index, num_tensors)


def _name_code(table: Table) -> str:
    """Name an operator code; older files use one byte, newer ones four, the larger one counts."""
    code = max(table.scalar(0, "b", 0), table.scalar(3, "i", 0))
    if code == PLACEHOLDER_CODE:
        code = table.scalar(3, "i", 0)
    return f"CUSTOM:{table.text(1)}" if code == CUSTOM_CODE else name_builtin(code)


def _locate_buffer(buffer: Table) -> Span:
    offset = buffer.scalar(1, "Q", 0)
    # 0 and 1 mean "in the data vector": writers use 1 as a placeholder.
    if offset > 1:
        num_bytes = buffer.scalar(2, "Q", 0)
        buffer.source.check(offset, num_bytes)
        return offset, num_bytes
    return buffer.span(0)


def _read_shape(table: Table) -> tuple[int, ...]:
    """Read a shape; the signature says which dimensions are dynamic."""
    shape = tuple(table.numbers(0, "<i4").tolist())
    signature = tuple(table.numbers(7, "<i4").tolist())
    if len(signature) == len(shape) and signature:
        shape = signature
    if any(d < -1 for d in shape) or len(shape) > 32:
        raise InvalidModelError("a tensor has an impossible shape", received=f"shape={shape}")
    return shape


def _read_quantization(table: Table | None) -> Quantization | None:
    if table is None:
        return None
    scales = tuple(table.numbers(2, "<f4").tolist())
    if not scales:
        return None
    zeros = tuple(table.numbers(3, "<i8").tolist()) or (0,)
    if len(zeros) == 1:
        zeros *= len(scales)
    if len(zeros) != len(scales):
        raise InvalidModelError(
            "a tensor needs one zero point per scale",
            received=f"{len(scales)} scales, {len(zeros)} zero points",
        )
    axis = table.scalar(6, "i", 0) if len(scales) > 1 else None
    return Quantization(scales, zeros, axis)


def _read_indices(table: Table, slot: int, num_tensors: int) -> tuple[int, ...]:
    indices = tuple(table.numbers(slot, "<i4").tolist())
    for index in indices:
        if not -1 <= index < num_tensors:
            raise _out_of_range("tensor", index, num_tensors)
    return indices


def _pick(items: Sequence[Item], index: int, what: str) -> Item:
    if not 0 <= index < len(items):
        raise _out_of_range(what, index, len(items))
    return items[index]


def _out_of_range(what: str, index: int, count: int) -> InvalidModelError:
    return InvalidModelError(
        f"the file is damaged: it refers to a {what} that does not exist",
        received=f"{index} of {count}",
        remedy="copy or export it again",
    )


def _explain_foreign(head: bytes) -> InvalidModelError:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, found, remedy in _LOOKALIKES:
        if text.startswith(start):
            return InvalidModelError(f"this is {found}", received=repr(head[:16]), remedy=remedy)
    if not head:
        found = "the file is empty"
    elif all(32 <= b < 127 or b in b"\t\r\n" for b in head):
        found = "this is a text file, not a TFLite model"
    else:
        found = "this is not a TFLite model: the identifier TFL3 is missing"
    return InvalidModelError(
        found, received=repr(head[:16]), remedy="check the file, or export the model again"
    )
