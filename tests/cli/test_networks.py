"""``models`` and ``build`` for every task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgevision.cli.app import run

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_models_of_one_task(capsys: Captured, task: str) -> None:
    assert run(["models", "--task", task, "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    assert {m["task"] for m in models} == {task}


def test_help_says_for_how_many_classes_the_list_counts(capsys: Captured) -> None:
    run(["models", "--help"])
    page = " ".join(capsys.readouterr().out.split())
    assert "1,000 classes, detectors with 90 and segmenters with 21" in page


def test_profile_counts_a_detector_with_90_classes(capsys: Captured) -> None:
    assert run(["profile", "ssdlite_mobilenet_v2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["params"] == 4_551_295


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ssd_mobilenet_v1", "--upsampling", "transposed"], "upsampling means nothing"),
        (["ssd_mobilenet_v1", "--dropout", "0.5"], "dropout means nothing"),
        (["unet_mobilenet_v1", "--upsampling", "magic"], "magic"),
    ],
)
def test_choices_of_another_task_are_refused(
    capsys: Captured, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert run(["build", *arguments, "-o", str(tmp_path / "m.keras")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [("ssd_mobilenet_v1", []), ("unet_mobilenet_v1", ["--upsampling", "transposed"])],
)
def test_build_takes_a_class_for_every_label(
    capsys: Captured, tmp_path: Path, name: str, options: list[str]
) -> None:
    pytest.importorskip("tensorflow")
    from edgevision.graph.contracts import read_contract

    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    output = tmp_path / "m.keras"
    shape = ["--alpha", "0.1", "--input-size", "32x64", "--labels", str(tmp_path / "labels.txt")]
    assert run(["build", name, *shape, *options, "-o", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == str(output)
    contract = read_contract(output)
    assert contract is not None
    assert contract.labels == ("cat", "dog")
