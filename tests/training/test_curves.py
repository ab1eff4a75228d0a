from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.training.curves import draw_curves
from edgevision.training.runs import HISTORY_COLUMNS


def test_writes_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    row = dict.fromkeys(HISTORY_COLUMNS, 0.5)
    rows = [row | {"phase": "train head"}] * 2 + [row | {"phase": "train network"}]
    draw_curves(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
