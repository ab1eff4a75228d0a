from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from played_sweep import Stage

from edgevision.benchmarks.benchmark import benchmark
from edgevision.benchmarks.pareto.pareto import pareto
from edgevision.benchmarks.report.sweep import make_plot, render_sweep, write_sweep
from edgevision.cli.app import run
from edgevision.errors import InvalidConfigError

GRID: dict[str, Any] = {"alphas": [0.25, 0.5], "input_sizes": [32]}


def sweep(photos: Path, output: Path, **options: Any) -> Any:
    names = options.pop("families", ["mobilenet_v1"])
    return pareto(names, **{**GRID, "seconds": 0.01, **options}, data=photos, output=output)


def test_rows_and_fronts(
    photos: Path, tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("edgevision.benchmarks.pareto.pareto")
    monkeypatch.setattr(module, "benchmark", benchmark)
    report = sweep(photos, tmp_path / "s")
    assert [row["score"] for row in report.rows] == [0.5, 0.75]
    assert all(row["latency_ms"]["p50"] > 0 for row in report.rows)
    # Both files are the same: the better one is on every front of equal cost.
    assert {"macs", "bytes"} <= set(report.rows[1]["front"])
    assert not {"macs", "bytes"} & set(report.rows[0]["front"])
    assert report.data == str(photos / "val")
    assert report.environment["cores"] >= 1


def test_the_same_call_makes_only_what_is_missing(
    photos: Path, tmp_path: Path, stage: Stage
) -> None:
    sweep(photos, tmp_path / "s", alphas=[0.25])
    before = len(stage.commands)
    told: list[str] = []
    report = sweep(photos, tmp_path / "s", tell=told.append)
    assert told[0] == "1 of 2 points are finished already"
    assert {c[c.index("--alpha") + 1] for c in stage.commands[before:] if "--alpha" in c} == {"0.5"}
    assert len(report.rows) == 2


def test_a_failed_point_is_a_row_and_is_tried_again(
    photos: Path, tmp_path: Path, stage: Stage
) -> None:
    stage.broken.add("mobilenet_v2")
    families = ["mobilenet_v1", "mobilenet_v2"]
    report = sweep(photos, tmp_path / "s", families=families, jobs=2)
    failed = [row for row in report.rows if row["status"] == "failed"]
    assert {row["point"]["name"] for row in failed} == {"mobilenet_v2"}
    assert failed[0]["reason"] == "it was killed by SIGKILL"
    assert failed[0]["front"] == []
    stage.broken.clear()
    again = sweep(photos, tmp_path / "s", families=families)
    assert {row["status"] for row in again.rows} == {"ok"}


def test_other_settings_are_refused(photos: Path, tmp_path: Path, stage: Stage) -> None:
    sweep(photos, tmp_path / "s", training={"epochs": 1})
    with pytest.raises(InvalidConfigError, match="epochs was 1, is 2"):
        sweep(photos, tmp_path / "s", training={"epochs": 2})


@pytest.mark.parametrize(
    "options", [{"jobs": 0}, {"training": {"epochs": -1}}, {"alphas": []}, {"seed": -1}]
)
def test_bad_options_are_told_before_anything_is_written(
    photos: Path, tmp_path: Path, stage: Stage, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidConfigError):
        sweep(photos, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()
    assert stage.commands == []


def test_report(photos: Path, tmp_path: Path, stage: Stage) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    stage.broken.add("mobilenet_v2")
    report = sweep(photos, tmp_path / "s", families=["mobilenet_v1", "mobilenet_v2"])
    written = write_sweep(report, tmp_path / "s")
    assert set(written) == {"json", "csv", "html", "png", "svg"}
    assert len(json.loads(Path(written["json"]).read_text())["rows"]) == 4
    assert Path(written["png"]).stat().st_size > 10_000
    assert Path(written["csv"]).read_text().splitlines()[1].startswith("mobilenet_v1 0.25 @32,50.0")
    page = render_sweep(report)
    assert "it was killed by SIGKILL" in page
    assert "75.0 %" in page
    plot = make_plot(report, "macs")
    assert plot is not None
    assert [dot["front"] for dot in plot["dots"]] == [False, True]
    assert all(0 <= dot["x"] <= 100 and 0 <= dot["y"] <= 100 for dot in plot["dots"])


def test_command(
    photos: Path, tmp_path: Path, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    arguments = ["pareto", "--data", str(photos), "--families", "mobilenet_v1", "--alphas"]
    arguments += ["0.25,0.5", "--input-sizes", "32", "--seconds", "0.01", "-o", str(tmp_path / "s")]
    assert run([*arguments, "--epochs", "1"]) == 0
    assert "mobilenet_v1 0.5 @32" in capsys.readouterr().out
    assert run([*arguments, "--epochs", "2", "--json"]) == 2
    assert "epochs was 1, is 2" in capsys.readouterr().err
    stage.broken.add("mobilenet_v1")
    arguments[-1] = str(tmp_path / "t")
    assert run(arguments) == 1
    assert "no point was finished" in capsys.readouterr().err
