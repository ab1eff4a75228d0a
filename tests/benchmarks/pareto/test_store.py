from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.benchmarks.pareto.store import open_sweep
from edgevision.benchmarks.pareto.sweep import GridPoint
from edgevision.errors import InvalidConfigError, OutputError

POINT = GridPoint(name="mobilenet_v1", alpha=0.25, input_size=(32, 32))
SETTINGS = {"seed": 0, "training": {"epochs": 3}, "images": {"train": "hash"}}


def test_finished_points_are_known_again_and_failed_ones_are_not(tmp_path: Path) -> None:
    with open_sweep(tmp_path / "sweep", SETTINGS) as folder:
        assert folder.read_finished(POINT) is None
        folder.write_point(POINT, {"status": "failed"})
        assert folder.read_finished(POINT) is None
        folder.write_point(POINT, {"status": "ok"})
    with open_sweep(tmp_path / "sweep", SETTINGS) as folder:
        assert folder.read_finished(POINT) == {"status": "ok"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"training": {"epochs": 4}}, "epochs was 3, is 4"),
        ({"training": {}}, "epochs was 3, is the default"),
        ({"images": {"train": "other"}}, "other images"),
    ],
)
def test_other_settings_are_refused(
    tmp_path: Path, changed: dict[str, object], message: str
) -> None:
    with open_sweep(tmp_path, SETTINGS):
        pass
    with pytest.raises(InvalidConfigError, match=message), open_sweep(tmp_path, SETTINGS | changed):
        pass


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(OutputError, match="holds no sweep"), open_sweep(tmp_path, SETTINGS):
        pass


def test_one_sweep_at_a_time(tmp_path: Path) -> None:
    with (
        open_sweep(tmp_path, SETTINGS),
        pytest.raises(OutputError),
        open_sweep(tmp_path, SETTINGS),
    ):
        pass
