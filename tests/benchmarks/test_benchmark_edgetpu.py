from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_edgetpu import build_compiled, build_library

from edgevision.benchmarks import latency
from edgevision.benchmarks.benchmark import BenchmarkReport, benchmark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs LD_LIBRARY_PATH")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Edge TPU that one process at a time can have."""
    build_library(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_EDGETPU_LOCK", str(tmp_path / "device"))
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.002)


def measure(folder: Path, *names: str) -> BenchmarkReport:
    files = [folder / f"{name}.tflite" for name in names]
    for file in files:
        file.write_bytes(build_compiled())
    return benchmark(files, devices=("edgetpu",), threads=(1,), seconds=0.01)


def test_models_share_the_one_device(device: None, tmp_path: Path) -> None:
    rows = measure(tmp_path, "first", "second").to_dict()["rows"]
    assert [(row["status"], row["reason"]) for row in rows] == [("ok", "")] * 2
    for row in rows:
        assert row["latency_ms"]["n"] >= 20
        assert (row["delegated_ops"], row["total_ops"], row["delegate"]) == (1, 2, "libedgetpu")
        assert [op["op"] for op in row["left_behind"]] == ["DEQUANTIZE"]
    assert rows[1]["relative"]["value"] > 0


@pytest.mark.parametrize(
    ("trouble", "told"),
    [("none", "no Edge TPU"), ("refuse", "does not open"), ("crash", "killed by SIGABRT")],
)
def test_no_device_is_a_row_that_says_so(
    device: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, told: str
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", trouble)
    (row,) = measure(tmp_path, "only").to_dict()["rows"]
    assert (row["status"], row["latency_ms"]) == ("unavailable", None)
    assert told in row["reason"]
    assert "device=edgetpu" in row["reason"]
