"""Trainings side by side, with scripts of a line or two in their place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgevision.cli import side_by_side
from edgevision.cli.side_by_side import train_beside
from edgevision.cli.story import CHAPTERS, ChapterPaths
from edgevision.errors import QualityGateError

FIRST, SECOND = CHAPTERS[1:]


def train_scripts(monkeypatch: pytest.MonkeyPatch, first: str, second: str) -> list[str]:
    """Run two scripts in place of the trainings; return what was told."""
    scripts = {FIRST.name: first, SECOND.name: second}

    def compose_command(paths: ChapterPaths, weights: Path, seed: int) -> list[str]:
        assert (weights, seed) == (Path("model.keras"), 3)
        return [sys.executable, "-I", "-S", "-c", scripts[paths.chapter.name]]

    monkeypatch.setattr(side_by_side, "compose_command", compose_command)
    told: list[str] = []
    chapters = [ChapterPaths(folder=Path("demo"), chapter=chapter) for chapter in (FIRST, SECOND)]
    train_beside(chapters, weights=Path("model.keras"), seed=3, tell=told.append)
    return told


def say(*lines: str) -> str:
    return f"import sys; print({chr(10).join(lines)!r}, file=sys.stderr)"


def test_notes_are_handed_on_with_the_name_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    told = train_scripts(
        monkeypatch, say("note: epoch 1/3", "a warning of a library"), say("note: epoch 1/5")
    )
    assert sorted(told) == [f"{FIRST.name}: epoch 1/3", f"{SECOND.name}: epoch 1/5"]


def test_the_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "count_cores", lambda: 6)
    names = "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"
    script = f"import os, sys; print('note:', *map(os.environ.get, {names}), file=sys.stderr)"
    assert sorted(train_scripts(monkeypatch, script, script)) == [
        f"{FIRST.name}: {6 // 2} {6 // 2}",
        f"{SECOND.name}: {6 // 2} {6 // 2}",
    ]


@pytest.mark.parametrize("failing", [FIRST.name, SECOND.name])
def test_a_failure_is_told_at_once_and_ends_the_others(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "pid"
    endless = f"""
import os, time
with open({str(pid_file) + ".new"!r}, "w") as file:
    file.write(str(os.getpid()))
os.rename({str(pid_file) + ".new"!r}, {str(pid_file)!r})
time.sleep(600)
"""
    broken = f"""
import os, sys, time
while not os.path.exists({str(pid_file)!r}):
    time.sleep(0.01)
print("error: no images (data)", file=sys.stderr)
sys.exit(2)
"""
    scripts = (broken, endless) if failing == FIRST.name else (endless, broken)
    with pytest.raises(QualityGateError, match=rf"training the {failing} failed \(no images"):
        train_scripts(monkeypatch, *scripts)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_failure_without_a_word_has_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QualityGateError, match="exit code 7"):
        train_scripts(monkeypatch, "raise SystemExit(7)", "")
