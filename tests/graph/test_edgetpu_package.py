from __future__ import annotations

import pytest

from edgevision.errors import InvalidModelError
from edgevision.graph.edgetpu_package import read_package
from edgevision.graph.flexbuffers import read_numbers, read_strings, write_numbers

flatbuffers = pytest.importorskip("flatbuffers")
flexbuffers = pytest.importorskip("flatbuffers.flexbuffers")


def build_executable(kind: int, parameters: int, program: int = 0, scratch: int = 0) -> bytes:
    builder = flatbuffers.Builder(64)
    weights = builder.CreateByteVector(bytes(parameters))
    stream = builder.CreateByteVector(bytes(program))
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, stream, 0)
    chunk = builder.EndObject()
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(chunk)
    chunks = builder.EndVector()
    builder.StartObject(17)
    builder.PrependInt32Slot(4, scratch, 0)
    builder.PrependUOffsetTRelativeSlot(5, chunks, 0)
    builder.PrependUOffsetTRelativeSlot(6, weights, 0)
    builder.PrependInt16Slot(13, kind, 0)
    builder.PrependInt64Slot(16, 700 if program else 0, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"DWN1")
    return bytes(builder.Output())


def build_package(executables: list[bytes]) -> bytes:
    inner = flatbuffers.Builder(64)
    texts = [inner.CreateString(e) for e in executables]
    inner.StartVector(4, len(texts), 4)
    for text in reversed(texts):
        inner.PrependUOffsetTRelative(text)
    vector = inner.EndVector()
    inner.StartObject(1)
    inner.PrependUOffsetTRelativeSlot(0, vector, 0)
    inner.Finish(inner.EndObject())
    builder = flatbuffers.Builder(64)
    content = builder.CreateByteVector(bytes(inner.Output()))
    version = builder.CreateString("cl/123")
    builder.StartObject(8)
    builder.PrependInt32Slot(0, 13, 0)
    builder.PrependUOffsetTRelativeSlot(1, content, 0)
    builder.PrependUOffsetTRelativeSlot(4, version, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"DWN1")
    return bytes(builder.Output())


def wrap(executables: list[bytes]) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Int("1", 0)
        builder.Blob("4", build_package(executables))
    return bytes(builder.Finish())


def test_cached_and_streamed_parameters_are_told_apart() -> None:
    package = read_package(wrap([build_executable(2, 50, 80, 96), build_executable(1, 300)]))
    assert package.to_dict() == {
        "compiler": "123",
        "min_runtime": 13,
        "cached_bytes": 300,
        "streamed_bytes": 50,
        "instruction_bytes": 80,
        "scratch_bytes": 96,
        "estimated_cycles": 700,
    }


def test_a_stand_alone_executable_streams_everything() -> None:
    package = read_package(wrap([build_executable(0, 40, 8)]))
    assert (package.cached_bytes, package.streamed_bytes) == (0, 40)


@pytest.mark.parametrize("options", [b"", write_numbers({"1": 0}), wrap([])[:-1]])
def test_other_options_are_refused(options: bytes) -> None:
    with pytest.raises(InvalidModelError):
        read_package(options)


def test_a_damaged_package_is_refused_or_read_without_a_crash() -> None:
    whole = wrap([build_executable(2, 50, 80, 96)])
    refused = 0
    for position in range(0, len(whole), 3):
        broken = bytearray(whole)
        broken[position] ^= 0xFF
        try:
            read_package(bytes(broken))
        except InvalidModelError:
            refused += 1
    assert refused


def test_strings_and_numbers_of_a_map_lie_side_by_side() -> None:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Int("one", 1)
        builder.String("text", "abc")
        builder.Blob("blob", bytes(300))
    data = bytes(builder.Finish())
    assert read_numbers(data) == {"one": 1}
    assert read_strings(data) == {"text": b"abc", "blob": bytes(300)}
