from __future__ import annotations

import pytest

from edgevision import threads


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Pretend a machine: the hyper-threads of each CPU, and the container's quota."""

    def pretend(siblings: list[str], quota: str = "max 100000") -> int:
        for cpu, text in enumerate(siblings):
            folder = tmp_path / f"cpu{cpu}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(text + "\n")
        (tmp_path / "cpu.max").write_text(quota)
        monkeypatch.setattr(threads, "_CPU_FOLDER", tmp_path)
        monkeypatch.setattr(threads, "_QUOTA_FILE", tmp_path / "cpu.max")
        monkeypatch.setattr(threads, "_list_usable_cpus", lambda: list(range(len(siblings))))
        return threads.count_cores.__wrapped__()

    return pretend


def test_hyper_threads_count_once(machine):
    assert machine(["0,2", "1,3", "0,2", "1,3"]) == 2


def test_quota_is_rounded_up(machine):
    assert machine([str(i) for i in range(8)], "250000 100000") == 3


def test_there_is_always_one(machine):
    assert machine(["0"], "10000 100000") == 1


def test_default_is_bounded(monkeypatch):
    monkeypatch.setattr(threads, "count_cores", lambda: 64)
    assert threads.resolve_threads(None) == threads.MAX_DEFAULT_THREADS
