from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgevision.benchmarks.report.diagnosis import (
    check_reportable,
    group_findings,
    make_plot,
    render_diagnosis,
    write_diagnosis,
    write_noise,
)
from edgevision.errors import OutputError


def describe_layer(name: str, alone: float | None, together: float | None) -> dict[str, Any]:
    return {
        **{"name": name, "op": "CONV_2D", "local_sqnr_db": alone, "sqnr_db": together},
        **{"channel_sqnr_db": alone, "worst_db": alone},
        "noise_shares": {"weights": 0.7, "inputs": 0.2, "output": 0.1} if alone else None,
        "weights": {"channel_spread": 3.0},
        "output": {
            **{"range": [-1.0, 1.0], "clipped": 0.01, "codes": 200, "bits": 8},
            "channel_spread": None,
        },
    }


def describe_finding(layer: str, cause: str) -> dict[str, Any]:
    return {
        **{"layer": layer, "index": 0, "cause": cause, "title": f"a {cause}"},
        **{"evidence": f"<{layer}> reaches 41.2", "remedy": "--ranges mse"},
    }


def describe(*findings: dict[str, Any]) -> dict[str, Any]:
    return {
        **{"verdict": "the output keeps only 3.0 dB", "sound": False, "images": 16},
        **{
            "sqnr_db": 3.0,
            "sound_db": 30,
            "rescaled_layers": 2,
            "float_ops": {"SQUEEZE": 2},
            "unpaired_layers": 1,
        },
        "findings": list(findings),
        "layers": [
            describe_layer("stem", 40.0, 40.0),
            describe_layer("passed", None, None),
            describe_layer("head", 12.0, -4.0),
        ],
    }


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = render_diagnosis(describe(describe_finding("stem", "outlier")), title="m.tflite")
    assert "the output keeps only 3.0 dB" in page
    assert "&lt;stem&gt; reaches 41.2" in page
    assert "Computed in float: 2 × SQUEEZE." in page
    assert "What helps: --ranges mse" in page
    assert "70 / 20 / 10" in page
    assert not re.search(r"(src|href)=|https?://|url\(", page)
    assert "prefers-color-scheme: dark" in page
    place = write_diagnosis(describe(), tmp_path / "new", title="m.tflite")
    assert "no layer gives evidence" in place.read_text()


def test_the_plot_goes_along_the_depth() -> None:
    plot = make_plot(describe()["layers"], 30)
    assert plot is not None
    # From 40 dB at the top to -10 dB at the bottom.
    assert [(p["x"], p["y"]) for p in plot["lines"]["local"]] == [(0, 0), (100, 56)]
    assert [(p["x"], p["y"]) for p in plot["lines"]["behind"]] == [(0, 0), (100, 88)]
    assert plot["sound"] == 20
    assert plot["lines"]["local"][1]["text"] == "head: 12.0 dB"
    assert make_plot([describe_layer("exact", None, None)], 30) is None


def test_layers_with_the_same_cause_stand_together() -> None:
    findings = [describe_finding(*pair) for pair in (("a", "x"), ("b", "y"), ("", "x"))]
    groups = group_findings(findings)
    assert [group["title"] for group in groups] == ["a x", "a y"]
    assert [place["layer"] for place in groups[0]["places"]] == ["a", "the network"]


def test_a_layer_without_noise() -> None:
    assert write_noise(describe_layer("exact", None, None)) == "–"


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        check_reportable(tmp_path / "file")
