"""What a small device must load: no timing is asserted here, only modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).parent / "runtime/models/float.tflite"
HEAVY = ("tensorflow", "keras", "onnx", "onnxruntime", "torch", "matplotlib", "scipy")
REPORT = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


def list_modules(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_import_loads_nothing():
    loaded = list_modules("import edgevision")
    assert not loaded & {*HEAVY, "numpy", "PIL", "rich", "typer", "ai_edge_litert"}


def test_command_line_loads_no_arrays():
    assert not list_modules("import edgevision.cli.app") & {*HEAVY, "numpy", "ai_edge_litert"}


def test_prediction_needs_only_the_base_packages():
    loaded = list_modules(
        f"import edgevision, numpy; m = edgevision.load({str(MODEL)!r});"
        "m.predict(numpy.zeros((9, 9, 3), numpy.uint8))"
    )
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("blocked", [HEAVY])
def test_prediction_runs_where_they_are_not_installed(blocked):
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))"
    loaded = list_modules(
        f"{block}; import edgevision, numpy; m = edgevision.load({str(MODEL)!r});"
        "m.predict(numpy.zeros((9, 9, 3), numpy.uint8))"
    )
    assert "edgevision.runtime.classify" in loaded
