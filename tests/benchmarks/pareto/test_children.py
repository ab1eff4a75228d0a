"""Real child processes of our own command line."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgevision.benchmarks.pareto import children as module
from edgevision.benchmarks.pareto.children import ChildFailedError, Children


def test_a_command_answers_with_its_document() -> None:
    document = Children(threads=1).run(["profile", "mobilenet_v1", "--alpha", "0.25"])
    assert document["params"] == 475_544


def test_a_failure_is_told_in_the_command_s_own_words(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.tflite")
    with pytest.raises(ChildFailedError, match=r"missing\.tflite"):
        Children(threads=1).run(["profile", missing])


def test_stop_ends_what_runs_and_starts_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CODE", "import time; time.sleep(60)")
    children = Children(threads=1)
    failures: list[str] = []

    def run() -> None:
        try:
            children.run(["train"])
        except ChildFailedError as error:
            failures.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while not children._running:
        pass
    children.stop()
    thread.join(timeout=20)
    assert failures == ["it was killed by SIGTERM"]
    with pytest.raises(ChildFailedError, match="interrupted"):
        children.run(["train"])


def test_a_child_ends_when_its_parent_is_gone() -> None:
    code = module._CODE.replace('runpy.run_module("edgevision"', "import time; time.sleep(60); (")
    code = code.replace(', run_name="__main__", alter_sys=True)', ")")
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(timeout=20) == 143
