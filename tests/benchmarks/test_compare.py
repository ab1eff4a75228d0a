from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgevision.benchmarks.benchmark import benchmark
from edgevision.benchmarks.compare import compare_reports, read_report
from edgevision.benchmarks.report.table import render_csv
from edgevision.benchmarks.rows import BenchmarkReport
from edgevision.errors import InvalidConfigError, MissingFileError


@pytest.fixture(scope="module")
def report(tiny_tflite: Path) -> BenchmarkReport:
    return benchmark([tiny_tflite], threads=(1,), seconds=0.01)


def change_row(report: BenchmarkReport, **values: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(report.to_dict()))
    document["rows"][0].update(values)
    return document


def find_change(report: BenchmarkReport, old: dict[str, Any], figure: str) -> Any:
    changes = compare_reports(old, report, path="old.json").changes
    return next(change for change in changes if change.figure == figure)


def test_nothing_changed(report: BenchmarkReport, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report.to_dict()))
    comparison = compare_reports(read_report(path), report, path=str(path))
    assert not any(change.certain for change in comparison.changes)
    assert (comparison.added, comparison.gone, comparison.warnings) == ((), (), ())
    assert {c.figure for c in comparison.changes} >= {"p50_ms", "file_bytes", "macs"}


def test_slower_beyond_the_noise_is_certain(report: BenchmarkReport) -> None:
    latency = {"p50": 0.5, "ci95": [0.0, 0.0]}
    change = find_change(report, change_row(report, latency_ms=latency), "p50_ms")
    assert (change.before, change.certain) == (0.5, True)


def test_overlapping_intervals_prove_nothing(report: BenchmarkReport) -> None:
    latency = {"p50": 0.5, "ci95": [0.0, 1e6]}
    assert not find_change(report, change_row(report, latency_ms=latency), "p50_ms").certain
    assert not find_change(report, change_row(report, latency_ms={"p50": 0.5}), "p50_ms").certain


def test_accuracy_and_size(report: BenchmarkReport) -> None:
    old = change_row(report, accuracy={"top1": 0.25}, file_bytes=1)
    accuracy = find_change(report, old, "accuracy")
    assert (accuracy.before, accuracy.after) == (0.25, None)
    assert find_change(report, old, "file_bytes").certain


def test_rows_that_came_and_went(report: BenchmarkReport) -> None:
    comparison = compare_reports(change_row(report, threads=3), report, path="old.json")
    assert comparison.changes == ()
    assert "1 thread" in comparison.added[0]
    assert "3 thread" in comparison.gone[0]


def test_other_machines_and_versions_are_told(report: BenchmarkReport) -> None:
    old = change_row(report)
    old["environment"]["processor"] = "a toaster"
    old["environment"]["packages"]["numpy"] = "0.1"
    processor, numpy = compare_reports(old, report, path="old.json").warnings
    assert "a toaster" in processor
    assert "numpy was 0.1" in numpy


def test_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_report(tmp_path / "none.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rows": [3]}', '{"rows": [{}]}', '{"rows": []}']
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InvalidConfigError, match="report"):
        read_report(path)


def test_csv_has_a_line_per_row_and_no_lists(report: BenchmarkReport) -> None:
    header, line = render_csv(report).splitlines()
    assert header.startswith("file,device,threads,status,reason,latency_ms.p50")
    assert "latency_ms.ci95.0" in header.split(",")
    assert "per_op" not in header
    assert header.count(",") == line.count(",")
