from __future__ import annotations

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.training.schedules import CosineSchedule, plan_cosine


def test_climbs_to_the_peak_then_falls_to_zero() -> None:
    schedule = plan_cosine(0.1, steps=100, warmup_fraction=0.2)
    assert schedule.warmup_steps == 20
    assert schedule(0) == pytest.approx(0.1 / 20)
    assert schedule(19) == pytest.approx(0.1)
    assert schedule(20 + 40) == pytest.approx(0.1 / 2)
    assert schedule(100) == pytest.approx(0.0, abs=1e-12)
    assert schedule(1000) == pytest.approx(0.0, abs=1e-12)


def test_one_step_has_no_warm_up() -> None:
    assert plan_cosine(0.1, steps=1, warmup_fraction=0.9)(0) == pytest.approx(0.1)


def test_refuses_a_warm_up_as_long_as_the_schedule() -> None:
    with pytest.raises(InvalidConfigError, match="warmup_steps=5"):
        CosineSchedule(peak=1.0, steps=5, warmup_steps=5)
