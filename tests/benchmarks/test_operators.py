from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import build_classifier

from edgevision.benchmarks import operators
from edgevision.benchmarks.operators import (
    OperatorProfile,
    OperatorTime,
    measure_start,
    profile_operators,
)
from edgevision.errors import MissingFileError, UnsupportedOpError
from edgevision.graph.reader import read_graph
from edgevision.specs import ModelFormat


@pytest.fixture(scope="module")
def measured(tiny_tflite: Path) -> OperatorProfile:
    return profile_operators(tiny_tflite, threads=1)


def create_time(index: int, op: str, time_ms: float | None, macs: int) -> OperatorTime:
    return OperatorTime(
        index=index,
        op=op,
        name=f"block_{index // 2}_x",
        block=f"block_{index // 2}",
        macs=macs,
        time_ms=time_ms,
        scaled_ms=2 * (time_ms or 0),
        delegated=True,
    )


def test_every_operation_has_a_time(measured: OperatorProfile) -> None:
    assert [op.op for op in measured.ops] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert all(op.time_ms is not None and op.time_ms >= 0 for op in measured.ops)
    assert measured.whole_ms > 0
    assert measured.ops[0].macs == 4 * 4 * 3 * 3 * 3 * 4


def test_scaled_times_make_up_the_whole(measured: OperatorProfile) -> None:
    if measured.sum_ms == 0:
        pytest.skip("operations too small for the clock")
    assert sum(op.scaled_ms for op in measured.ops) == pytest.approx(measured.whole_ms)
    assert measured.residual == pytest.approx(1 - measured.sum_ms / measured.whole_ms)
    for key in ("op", "block"):
        times, macs = zip(*measured.group(key).values(), strict=True)
        assert (sum(times), sum(macs)) == (pytest.approx(1), pytest.approx(1))


def test_groups_add_up() -> None:
    ops = (
        create_time(0, "CONV_2D", 1.0, 30),
        create_time(1, "ADD", None, 0),
        create_time(2, "CONV_2D", 0.5, 10),
    )
    profile = OperatorProfile(file="x.tflite", threads=1, whole_ms=3.0, ops=ops)
    assert profile.sum_ms == 1.5
    assert profile.residual == 0.5
    assert profile.group("op") == {"CONV_2D": (1.0, 1.0), "ADD": (0.0, 0.0)}
    assert profile.group("block") == {"block_0": (2 / 3, 0.75), "block_1": (1 / 3, 0.25)}


def test_json(measured: OperatorProfile) -> None:
    document = json.loads(json.dumps(measured.to_dict()))
    assert {"whole_ms", "sum_ms", "residual", "ops", "by_op", "by_block"} <= set(document)
    assert {"index", "op", "name", "block", "macs", "time_ms", "scaled_ms"} <= set(
        document["ops"][0]
    )


def test_unpacking_of_constants_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "half.tflite"
    path.write_bytes(build_classifier(half=True))
    profile = profile_operators(path, threads=1)
    unpacking = [op for op in profile.ops if op.op == "DEQUANTIZE"]
    assert unpacking
    assert all(op.time_ms is None and "constants" in op.note for op in unpacking)


def test_start_of_an_interpreter_takes_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "ROUNDS", 2)
    assert 0 <= measure_start(tmp_path, 1) < 100


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        profile_operators(tmp_path / "none.tflite")


def test_files_of_other_formats_are_refused(
    tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = read_graph(tiny_tflite)
    monkeypatch.setattr(
        operators, "read_graph", lambda _path: replace(graph, format=ModelFormat.ONNX)
    )
    with pytest.raises(UnsupportedOpError, match=r"\.tflite"):
        profile_operators(tiny_tflite)
