"""The program that is copied to a device; run here as it is there."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgevision.benchmarks import conditions, remote_runner
from edgevision.benchmarks.remote_runner import MARK

SOURCE = Path(remote_runner.__file__)
NOT_THERE = {"edgevision", "tensorflow"}


@pytest.fixture
def folder(tmp_path: Path, tiny_tflite: Path) -> Path:
    """What is copied to a device."""
    place = tmp_path / "edgevision.abc"
    place.mkdir()
    for file in (SOURCE, Path(conditions.__file__), tiny_tflite):
        shutil.copy(file, place)
    return place


def ask(folder: Path, *requests: dict[str, Any], model: str = "tiny.tflite") -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _start(folder), model, "1"],
        input="".join(json.dumps(request) + "\n" for request in requests),
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
        timeout=60,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    return [json.loads(line.removeprefix(MARK)) for line in lines]


def _start(folder: Path) -> str:
    """Return code that runs the program where our own package can not be imported."""
    return (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({sorted(NOT_THERE)!r}));"
        f"sys.path.insert(0, {str(folder)!r});"
        f"runpy.run_path({str(folder / SOURCE.name)!r}, run_name='__main__')"
    )


@pytest.mark.parametrize("file", [SOURCE, Path(conditions.__file__)])
def test_old_pythons_can_read_it(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        or [alias.name for alias in node.names]
    }
    assert names <= sys.stdlib_module_names


def test_a_model_is_opened_and_timed(folder: Path) -> None:
    opened, warm, block, nothing, found, about = ask(
        folder,
        {"call": "open"},
        {"call": "warm_up"},
        {"call": "time_block", "seconds": 0.01, "refill": True},
        {"call": "start_watch", "pids": []},
        {"call": "finish_watch"},
        {"call": "describe"},
    )
    assert opened["value"]["threads"] == 1
    assert "DELEGATE" in {node[0] for node in opened["value"]["nodes"]}
    assert opened["value"]["backend"].startswith("ai_edge_litert ")
    first_ms, count = warm["value"]
    assert first_ms > 0
    assert count > 2
    assert sum(block["value"]) >= 10
    assert nothing == {"value": None}
    assert {"before", "after", "seconds"} <= set(found["value"])
    assert about["value"]["cores"] >= 1


def test_it_removes_its_own_folder_and_no_other(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "work"
    shutil.copytree(folder, other)
    ask(folder, {"call": "describe"})
    assert not folder.exists()
    ask(other, {"call": "describe"})
    assert other.is_dir()


def test_a_broken_model_is_told(folder: Path) -> None:
    (folder / "tiny.tflite").write_bytes(b"no model at all")
    (answer,) = ask(folder, {"call": "open"})
    assert answer["kind"] == "model"
    assert "ai_edge_litert" in answer["error"]


def test_a_missing_interpreter_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"ai_edge_litert", "tflite_runtime", "onnxruntime"}
    monkeypatch.setattr(sys.modules[__name__], "NOT_THERE", NOT_THERE | missing)
    shutil.copytree(folder, folder.with_name("edgevision.two"))
    (answer,) = ask(folder, {"call": "open"})
    assert answer["kind"] == "interpreter"
    assert all(name in answer["error"] for name in ("ai_edge_litert", "tflite_runtime"))
    (answer,) = ask(folder.with_name("edgevision.two"), {"call": "open"}, model="tiny.onnx")
    assert "onnxruntime" in answer["error"]


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("float32", -1, 1), ("int8", -128, 127), ("int64", 0, 1)]
)
def test_inputs(dtype: str, low: int, high: int) -> None:
    values = remote_runner._make_input(shape=[1, 64, 64], dtype=dtype)
    assert values.dtype == dtype
    assert low <= values.min() < values.max() <= high
