"""A sweep whose trainings take no time: only the commands that children would run are played."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from played_sweep import Stage

from edgevision.benchmarks.pareto.children import Children

ABOUT = {"time": "now", "processor": "abacus", "cores": 1, "packages": {"numpy": "1"}}


def play(files: list[Path], **_options: Any) -> Any:
    """Play the timing of files, which would probe each in a process of its own."""
    rows = [{"latency_ms": {"p50": 1.0 + i}, "reason": ""} for i, _ in enumerate(files)]
    return SimpleNamespace(to_dict=lambda: {"rows": rows, "environment": ABOUT, "warnings": []})


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Every child process replaced."""
    played = Stage()
    monkeypatch.setattr(Children, "run", lambda _self, arguments: played.run(arguments))
    monkeypatch.setattr(import_module("edgevision.benchmarks.pareto.pareto"), "benchmark", play)
    return played


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of two images each, in two parts."""
    folder = tmp_path_factory.mktemp("photos")
    for number, place in enumerate(
        folder / part / label for part in ("train", "val") for label in ("cat", "dog")
    ):
        place.mkdir(parents=True)
        for index in range(2):
            pixels = np.full((8, 8, 3), 20 * number + index, np.uint8)
            Image.fromarray(pixels).save(place / f"{index}.png")
    return folder
