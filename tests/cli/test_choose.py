"""``plan`` on the command line."""

from __future__ import annotations

import json

import pytest

from edgevision.cli.app import run

Captured = pytest.CaptureFixture[str]


def test_plan_prints_what_fits(capsys: Captured) -> None:
    assert run(["plan", "--max-macs", "50M", "--max-params", "1M", "--top", "1"]) == 0
    page = capsys.readouterr().out
    assert "mobilenet_v1" in page
    assert "49.8 %" in page
    assert "mobilenet_v1.md" in page
    assert "mobilenet_v2" not in page


def test_plan_as_json(capsys: Captured) -> None:
    assert run(["plan", "--max-ram", "256KB", "--top", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["candidates"]) == 2
    assert document["num_fitting"] > 2
    first = document["candidates"][0]
    assert {"name", "alpha", "input_size", "macs", "params", "bytes", "ram"} <= set(first)
    assert first["accuracy"] >= document["candidates"][1]["accuracy"]


def test_plan_that_nothing_fits_exits_1_and_names_the_nearest(capsys: Captured) -> None:
    assert run(["plan", "--max-ram", "10KB", "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["candidates"] == []
    assert document["nearest"]["name"] in captured.err
    assert document["misses"][0]["limit"] == 10_000
    assert "failed: no network fits" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-ram", "10X"], "--max-ram 10X"),
        (["--alphas", "wide"], "--alphas wide"),
        (["--input-size", "96,big"], "--input-size big"),
        (["--networks", "mobilenet_v9"], "did you mean"),
    ],
)
def test_bad_input_is_one_line(capsys: Captured, arguments: list[str], message: str) -> None:
    assert run(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
