"""Points on a cluster; Ray is played, and met for real where it is installed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from played_sweep import Stage

from edgevision.benchmarks.pareto import cluster
from edgevision.benchmarks.pareto.cluster import make_point, run_on_cluster
from edgevision.benchmarks.pareto.sweep import GridPoint, SweepSettings
from edgevision.benchmarks.pareto.work import PointWork
from edgevision.errors import BackendUnavailableError, InvalidConfigError

POINT = GridPoint(name="mobilenet_v1", alpha=0.25, input_size=(32, 32))


def make_work(folder: Path) -> PointWork:
    return PointWork(point=POINT, settings=SweepSettings(data="photos"), folder=folder)


class PlayedRay:
    """What is used of Ray: tasks run where ``get`` is called."""

    def __init__(self) -> None:
        self.closed = False
        self.tasks: list[Any] = []

    def init(self, **_options: Any) -> None:
        pass

    def remote(self, **_options: Any) -> Any:
        def submit(function: Any, work: PointWork) -> int:
            self.tasks.append((function, work))
            return len(self.tasks) - 1

        return lambda function: SimpleNamespace(remote=lambda work: submit(function, work))

    def wait(self, waiting: list[Any], **_options: Any) -> Any:
        return waiting[:1], waiting[1:]

    def get(self, task: int) -> Any:
        function, work = self.tasks[task]
        return function(work)

    def shutdown(self) -> None:
        self.closed = True


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> PlayedRay:
    played = PlayedRay()
    monkeypatch.setattr(cluster, "import_backend", lambda _name: played)
    return played


def test_a_machine_that_sees_the_folder_works_there(tmp_path: Path, stage: Stage) -> None:
    record, files = make_point(make_work(tmp_path))
    assert record["status"] == "ok"
    assert files == {}
    assert (tmp_path / "int8.tflite").is_file()


def test_files_of_another_machine_travel_back(tmp_path: Path, stage: Stage, ray: PlayedRay) -> None:
    work = make_work(tmp_path / "not" / "there")
    ((back, record),) = run_on_cluster([work], address="auto")
    assert back is work
    assert record["status"] == "ok"
    assert (work.folder / "int8.tflite").stat().st_size == record["file_bytes"]
    assert ray.closed


def test_a_machine_that_fails_is_a_failed_point(
    tmp_path: Path, ray: PlayedRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_work: PointWork) -> None:
        raise OSError("node died")

    monkeypatch.setattr(cluster, "make_point", fail)
    ((_, record),) = run_on_cluster([make_work(tmp_path)], address="auto")
    assert (record["status"], record["stage"], record["reason"]) == ("failed", "ray", "node died")


def test_an_address_where_nothing_listens_is_told_at_once(tmp_path: Path, ray: PlayedRay) -> None:
    with pytest.raises(InvalidConfigError, match="ray start --head"):
        list(run_on_cluster([make_work(tmp_path)], address="127.0.0.1:1"))


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(BackendUnavailableError, match=r"edgevision\[ray\]"):
        list(run_on_cluster([make_work(tmp_path)], address="auto"))
