from __future__ import annotations

import struct

import pytest

from edgevision.errors import InvalidModelError
from edgevision.graph.tables import Source, read_root


def pack_table(fields: bytes, vtable: bytes) -> bytes:
    """Root offset, vtable, table: the smallest flatbuffer with these fields."""
    table = 4 + 4 + len(vtable)
    head = struct.pack("<IHH", table, 4 + len(vtable), 4 + len(fields))
    return head + vtable + struct.pack("<i", table - 4) + fields


def test_reads_present_fields_and_defaults() -> None:
    data = pack_table(struct.pack("<iBxxx", -5, 1), struct.pack("<HHH", 4, 0, 8))
    table = read_root(data)
    assert table.scalar(0, "i", 0) == -5
    assert table.scalar(1, "i", 7) == 7
    assert table.scalar(2, "?", False) is True
    assert table.scalar(9, "f", 0.5) == 0.5


def test_reads_strings_and_vectors_without_copy() -> None:
    fields = struct.pack("<II", 8, 16) + struct.pack("<I3sx", 3, b"abc")
    fields += struct.pack("<xxxxI2h", 2, 7, -7)
    data = pack_table(fields, struct.pack("<HH", 4, 8))
    table = read_root(data)
    assert table.text(0) == "abc"
    numbers = table.numbers(1, "<i2")
    assert numbers.tolist() == [7, -7]
    assert not numbers.flags.owndata


@pytest.mark.parametrize("length", range(12))
def test_refuses_every_truncation(length: int) -> None:
    data = pack_table(struct.pack("<i", 1), struct.pack("<H", 4))
    with pytest.raises(InvalidModelError, match="damaged or cut off"):
        read_root(data[:length]).scalar(0, "i", 0)


def test_refuses_vector_longer_than_the_file() -> None:
    fields = struct.pack("<II", 4, 1_000_000_000)
    table = read_root(pack_table(fields, struct.pack("<H", 4)))
    with pytest.raises(InvalidModelError, match="outside"):
        table.numbers(0, "<i8")


def test_bounds_the_work_of_entangled_tables() -> None:
    source = Source(bytes(100))
    source.charge(100)
    with pytest.raises(InvalidModelError, match="circles"):
        source.charge(10_000)
