from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.benchmarks.pareto.sweep import GridPoint, find_val_folders, plan_grid
from edgevision.errors import InvalidConfigError
from edgevision.specs import Task


def test_grid_is_every_combination_once() -> None:
    points = plan_grid(
        ["mobilenet_v1", "mobilenet_v2", "mobilenet_v1"], [0.25, 0.5], [96, (96, 96)]
    )
    assert [p.key for p in points] == [
        "mobilenet_v1_0.25_96x96",
        "mobilenet_v1_0.5_96x96",
        "mobilenet_v2_0.25_96x96",
        "mobilenet_v2_0.5_96x96",
    ]


def test_a_family_stands_for_all_its_networks() -> None:
    names = [p.name for p in plan_grid(["mobilenet_v4"], [0.5], [96])]
    assert names == [f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large")]


def test_point_round_trips() -> None:
    point = GridPoint(name="unet", alpha=0.5, input_size=(64, 96))
    assert GridPoint.from_dict(point.to_dict()) == point


@pytest.mark.parametrize(
    ("families", "alphas", "sizes", "message"),
    [
        ([], [1.0], [96], "families"),
        (["mobilenet_v1"], [], [96], "alphas"),
        (["mobilenet_v1"], [1.0], [], "input sizes"),
        (["mobilenet_v1", "unet"], [1.0], [96], "different tasks"),
        (["mobilenet_v7"], [1.0], [96], "no such network"),
        (["mobilenet_v1"], [-1.0], [96], "alpha"),
        (["mobilenet_v1"], [1.0], [8], "input_size"),
    ],
)
def test_impossible_grids_are_refused(
    families: list[str], alphas: list[float], sizes: list[int], message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        plan_grid(families, alphas, sizes)


def test_a_classifier_needs_images_to_be_judged_by(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="--val-data"):
        find_val_folders(Task.CLASSIFY, tmp_path, None)
    other = tmp_path / "other"
    assert find_val_folders(Task.CLASSIFY, tmp_path, other) == (tmp_path, other)
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
    parts = (tmp_path / "train", tmp_path / "val")
    assert find_val_folders(Task.CLASSIFY, tmp_path, None) == parts
    assert find_val_folders(Task.DETECT, tmp_path, None) == (tmp_path, None)
