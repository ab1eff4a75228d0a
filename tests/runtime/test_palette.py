from __future__ import annotations

import numpy as np

from edgevision.runtime.palette import pick_color, tabulate_colors


def test_colors_are_far_apart():
    colors = np.array([pick_color(i) for i in range(24)], float)
    distances = np.linalg.norm(colors[:, None] - colors, axis=-1) + 999 * np.eye(24)
    assert distances[:12, :12].min() > 50
    assert distances.min() > 15
    assert len({pick_color(i) for i in range(256)}) > 250


def test_background_is_black_and_shifts_the_others():
    assert tabulate_colors(3, background=True).tolist() == [
        [0, 0, 0],
        list(pick_color(0)),
        list(pick_color(1)),
    ]
    assert tabulate_colors(2, background=False)[0].tolist() == list(pick_color(0))
