from __future__ import annotations

import numpy as np
import pytest

from edgevision.quantization.diagnose import measure_sqnr_db
from edgevision.quantization.diagnosis.powers import measure_powers


def test_all_figures_of_one_pass() -> None:
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(3, 1, 4, 4, 2)).astype(np.float32)
    actual = expected + np.array([0.5, 0], np.float32)
    actual[..., 1] += rng.normal(0, 0.01, actual.shape[:-1])
    powers = measure_powers(expected, actual)
    assert powers.sqnr_db == measure_sqnr_db(expected, actual)
    assert powers.shift == pytest.approx([0.5, 0], abs=0.01)
    assert powers.shift_share > 0.99
    channels = [measure_sqnr_db(expected[..., c], actual[..., c]) for c in range(2)]
    assert powers.channel_sqnr_db == pytest.approx(np.mean(channels), abs=0.01)


def test_nothing_to_compare() -> None:
    same = np.ones((2, 3), np.float32)
    assert measure_powers(same, same).sqnr_db is None
    assert measure_powers(same, same).channel_sqnr_db is None
    assert measure_powers(0 * same, same).sqnr_db is None
    assert measure_powers(same, same).shift_share == 0
    assert measure_powers(np.ones(4, np.float32), np.zeros(4, np.float32)).sqnr_db == 0
