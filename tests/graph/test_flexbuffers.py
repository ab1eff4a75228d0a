from __future__ import annotations

import random

import pytest

from edgevision.errors import InvalidModelError
from edgevision.graph.flexbuffers import read_numbers, write_numbers


@pytest.mark.parametrize(
    "values",
    [
        {"a": 1, "b": -300, "c": 10**10},
        {"half": 0.5, "third": 1 / 3, "yes": True, "no": False, "zero": 0},
        {f"name_{i}": i * 1000 for i in range(300)},
    ],
)
def test_numbers_round_trip(values: dict[str, float]) -> None:
    assert read_numbers(write_numbers(values)) == values


def test_other_values_are_left_out() -> None:
    from flatbuffers import flexbuffers

    builder = flexbuffers.Builder()
    with builder.Map():
        builder.String("text", "words")
        builder.IndirectFloat("apart", 0.25)
        builder.Int("number", 7)

    assert read_numbers(bytes(builder.Finish())) == {"apart": 0.25, "number": 7}


@pytest.mark.parametrize("data", [b"", b"ab", b"\x01\x04\x01", bytes(20), b"options"])
def test_what_is_no_map_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidModelError):
        read_numbers(data)


def test_damage_is_refused_or_read_as_other_numbers() -> None:
    data = write_numbers({"max_detections": 100, "scale": 0.1, "fast": True})
    rng = random.Random(3)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_numbers(bytes(damaged))
        except InvalidModelError:
            refused += 1
    assert refused > 200
