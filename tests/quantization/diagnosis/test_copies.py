from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.quantization.diagnosis.copies import Rows, find_sources
from edgevision.quantization.diagnosis.places import NOWHERE

Array = np.ndarray[Any, Any]

WEIGHTS = np.random.default_rng(3).normal(size=(4, 27)).astype(np.float32)
BIAS = np.array([1.0, 2.0, 3.0, 4.0])


def find(stored: Array, bias: Array, *, scale: float) -> list[int]:
    integers = np.rint(stored / scale)
    steps = np.abs(integers).max(axis=1)
    rows = Rows(weights=WEIGHTS, stored=integers * scale, steps=steps, bias=bias, output_step=0.02)
    return [int(source) for source in find_sources(rows)]


def test_every_row_is_its_own() -> None:
    assert find(WEIGHTS, BIAS, scale=0.02) == [0, 1, 2, 3]


def test_copies_in_the_place_of_another_channel_and_behind() -> None:
    stored = np.stack([WEIGHTS[0], 3 * WEIGHTS[2], WEIGHTS[2], WEIGHTS[3], 0.5 * WEIGHTS[0]])
    assert find(stored, np.zeros(5), scale=0.02) == [0, 2, 2, 3, 0]


def test_added_rows_without_a_counterpart() -> None:
    strange = np.random.default_rng(9).normal(size=(1, 27))
    assert find(np.concatenate([WEIGHTS, strange]), np.zeros(5), scale=0.02)[4] == NOWHERE


def test_rows_of_one_step_are_told_by_their_twin_and_its_bias() -> None:
    scale = float(np.abs(WEIGHTS).max() / 1.4)
    stored = np.concatenate([WEIGHTS, WEIGHTS[1:2]])
    stored[3] = WEIGHTS[0]
    bias = np.array([1.0, 2.0, 3.0, 1.01, 2.02])
    assert find(stored, bias, scale=scale) == [0, 1, 2, 0, 1]
    # In a collapsed file rows may be alike by chance: the bias is still the channel's own.
    bias[3] = BIAS[3]
    assert find(stored, bias, scale=scale) == [0, 1, 2, 3, 1]
