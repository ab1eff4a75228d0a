from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.training.curves import _plan_panels, draw_curves

ROW = {"phase": "train head", "epoch": 1, "learning_rate": 0.1, "loss": 0.5, "val_loss": 0.6}


def test_writes_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [ROW | {"val_map50": 0.1}] * 2 + [ROW | {"phase": "train network", "val_map50": 0.2}]
    draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_training_and_validation_of_a_figure_share_a_panel() -> None:
    assert _plan_panels([ROW, ROW | {"val_mean_iou": 0.1}]) == {
        "loss": {"loss": "training", "val_loss": "validation"},
        "mean iou": {"val_mean_iou": "validation"},
        "learning rate": {"learning_rate": "learning rate"},
    }
