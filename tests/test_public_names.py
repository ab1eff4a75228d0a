"""The public names exist, and load nothing before they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgevision as ev


def test_all_is_sorted_and_complete() -> None:
    assert list(ev.__all__) == sorted(ev.__all__)
    assert set(ev._PUBLIC) == set(ev.__all__) - {"__version__"}
    assert dir(ev) == list(ev.__all__)


@pytest.mark.parametrize("name", sorted(set(ev.__all__) - {"__version__"}))
def test_name_loads(name: str) -> None:
    assert getattr(ev, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pycoral'"):
        _ = ev.pycoral  # type: ignore[attr-defined]


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, edgevision; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "PIL", "tensorflow", "keras", "onnx", "ai_edge_litert", "typer"}
