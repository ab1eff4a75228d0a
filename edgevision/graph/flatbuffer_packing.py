"""Unpacking and packing of TFLite models through LiteRT's generated schema classes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from edgevision.errors import BackendUnavailableError, UnsupportedOpError
from edgevision.graph.tflite import Span
from edgevision.graph.tflite_schema import IDENTIFIER

Array = np.ndarray[Any, Any]

_ALIGNMENT = 16
_MAX_BYTES = 2**31 - 1
_SCHEMA_MODULES = (
    "ai_edge_litert.schema_py_generated",
    "tensorflow.lite.python.schema_py_generated",
)


def load_schema() -> Any:
    """Import the generated classes of the TFLite schema (0.2 s; only editing needs them).

    Raises:
        BackendUnavailableError: No package that brings them is installed.
    """
    for module in _SCHEMA_MODULES:
        try:
            return import_module(module)
        except ImportError:
            continue
    raise BackendUnavailableError(
        "changing a .tflite file needs ai-edge-litert, which is not installed", extra="tf"
    )


def unpack_model(schema: Any, model: bytes, spans: Sequence[Span]) -> Any:
    """Unpack a model into a ``ModelT`` whose buffers hold their data, wherever it lay.

    Args:
        schema: The generated module.
        model: Bytes of a whole, sound file.
        spans: Place of each buffer's data.
    """
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for buffer, span in zip(unpacked.buffers or [], spans, strict=True):
        _move_inside(buffer, span, model)
    for subgraph in unpacked.subgraphs:
        for op in subgraph.operators or []:
            _move_options_inside(op, model)
    return unpacked


def pack_model(schema: Any, model: Any) -> bytes:
    """Pack a ``ModelT``: constants inside, aligned to 16 bytes.

    Raises:
        UnsupportedOpError: The model is larger than the 2 GiB that the format allows.
    """
    import flatbuffers

    buffers = model.buffers
    num_bytes = sum(len(b.data) for b in buffers if b.data is not None)
    if num_bytes + (1 << 20) > _MAX_BYTES:
        raise UnsupportedOpError("a .tflite file holds at most 2 GiB", received=num_bytes)
    builder = flatbuffers.Builder(num_bytes + 32 * len(buffers) + (1 << 18))
    model.buffers = [_AlignedBuffer(schema, b.data) for b in buffers]
    try:
        builder.Finish(model.Pack(builder), IDENTIFIER)
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


class _AlignedBuffer:
    """Packs one buffer with the 16-byte alignment that the Python schema classes forget."""

    def __init__(self, schema: Any, data: Array | None) -> None:
        self._schema = schema
        self._data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - called by the schema classes
        vector = None if self._data is None else self._pack_vector(builder, bytes(self._data))
        self._schema.BufferStart(builder)
        if vector is not None:
            self._schema.BufferAddData(builder, vector)
        return int(self._schema.BufferEnd(builder))

    def _pack_vector(self, builder: Any, data: bytes) -> Any:
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        return builder.EndVector()


def _move_inside(buffer: Any, span: Span, model: bytes) -> None:
    """Turn a buffer of either layout into one that holds its data."""
    start, num_bytes = span
    buffer.data = np.frombuffer(model, "u1", num_bytes, start) if num_bytes else None
    buffer.offset = buffer.size = 0


def _move_options_inside(op: Any, model: bytes) -> None:
    if op.largeCustomOptionsOffset > 1:
        start, num_bytes = op.largeCustomOptionsOffset, op.largeCustomOptionsSize
        op.customOptions = np.frombuffer(model, "u1", num_bytes, start)
    op.largeCustomOptionsOffset = op.largeCustomOptionsSize = 0
