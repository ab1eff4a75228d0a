from __future__ import annotations

import numpy as np
import pytest

from edgevision.quantization.ranges.auto import choose_ends, is_better, measure_image_errors
from edgevision.quantization.ranges.entropy import find_entropy_range
from edgevision.quantization.ranges.histogram import Histogram, count_values
from edgevision.quantization.ranges.mse import find_mse_range, list_ends, measure_errors
from edgevision.quantization.ranges.narrow import RULES, RangeRule
from edgevision.quantization.ranges.percentile import find_percentile_range
from edgevision.specs import RangeMethod

STEPS = 255


def count(values: np.ndarray) -> Histogram:
    return count_values(values, float(values.min()), float(values.max()))


def round_to_codes(values: np.ndarray, low: float, high: float, steps: int) -> np.ndarray:
    step = (high - low) / steps
    first = np.rint(low / step)
    return np.clip(np.rint(values / step), first, first + steps) * step


@pytest.fixture(params=["signed", "relu"])
def values(request: pytest.FixtureRequest) -> np.ndarray:
    """Many small values and few large ones."""
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.normal(0, 1, 40_000), rng.normal(0, 8, 40)])
    return np.maximum(drawn, 0) if request.param == "relu" else drawn


@pytest.mark.parametrize("rule", RULES.values())
def test_rules_narrow_a_range_with_rare_peaks(rule: RangeRule, values: np.ndarray) -> None:
    low, high = rule(count(values), STEPS)
    assert values.min() <= low <= 0 <= high < values.max()
    assert (low == 0) == (values.min() == 0)
    assert np.mean((values > low) & (values < high)) > 0.99 * np.mean(values != 0)


@pytest.mark.parametrize("rule", RULES.values())
def test_rules_keep_zero_inside_one_sided_ranges(rule: RangeRule) -> None:
    away = np.random.default_rng(0).uniform(2, 3, 5000)
    assert rule(count(away), STEPS)[0] == 0.0
    assert rule(count(-away), STEPS)[1] == 0.0


@pytest.mark.parametrize("rule", RULES.values())
def test_rules_hold_where_all_values_are_zero(rule: RangeRule) -> None:
    silent = Histogram(low=0.0, high=1.0, counts=np.zeros(64), num_zeros=99)
    assert rule(silent, STEPS) == (0.0, 1.0)


def test_percentile_clips_the_share_that_it_says() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    low, high = find_percentile_range(count(values), STEPS, share=0.02)
    assert np.mean(values < low) == pytest.approx(0.01, abs=2e-3)
    assert np.mean(values > high) == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("steps", [7, 255])
def test_mse_expects_the_error_that_rounding_really_makes(values: np.ndarray, steps: int) -> None:
    seen = count(values)
    lows, highs = (ends[::16] for ends in list_ends(seen))
    expected = measure_errors(seen, steps, lows=lows, highs=highs)
    real = [
        [np.square(values - round_to_codes(values, a, b, steps)).sum() for b in highs] for a in lows
    ]
    assert np.allclose(expected, real, rtol=0.15)


def test_mse_is_the_best_of_what_it_tries(values: np.ndarray) -> None:
    best = find_mse_range(count(values), STEPS)
    error = np.square(values - round_to_codes(values, *best, STEPS)).sum()
    plain = np.square(values - round_to_codes(values, values.min(), values.max(), STEPS)).sum()
    assert error < plain


def test_mse_keeps_even_values() -> None:
    values = np.random.default_rng(0).uniform(-2, 1, 50_000)
    low, high = find_mse_range(count(values), STEPS)
    assert low == pytest.approx(-2, abs=0.02)
    assert high == pytest.approx(1, abs=0.02)


def test_entropy_clips_nothing_where_codes_outnumber_bins(values: np.ndarray) -> None:
    assert find_entropy_range(count(values), 65_535)[1] == values.max()


def test_a_rule_is_chosen_on_other_values(values: np.ndarray) -> None:
    seen = count(values)
    held = count_values(np.sort(values)[100:-100], seen.low, seen.high)  # without the peaks
    options = {0: [rule(seen, STEPS) for rule in RULES.values()], 9: [(0.0, 1.0)]}
    chosen = choose_ends({0: held}, options, STEPS)
    assert set(chosen) == {0}
    assert chosen[0] in options[0]
    for useless in (1e-3, 0.99):  # far too narrow, and as good as the extremes
        options = {0: [(seen.low * useless, seen.high * useless)]}
        assert choose_ends({0: held}, options, STEPS) == {}


def test_a_gain_must_be_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    errors = rng.uniform(1, 2, 40)
    assert is_better(errors, errors + rng.uniform(0, 0.1, 40))
    assert not is_better(errors, errors + rng.normal(0, 1, 40) * 0.1 - 0.05)
    assert not is_better(errors, errors)
    assert not is_better(errors[:4], errors[:4] + 1)


def test_each_output_counts_in_its_own_scale() -> None:
    expected = (np.full((3, 2), 10.0), np.full((3, 4), 0.1))
    actual = (expected[0] * 1.1, expected[1] * 1.1)
    assert measure_image_errors(expected, actual) == pytest.approx([0.02] * 3)
    assert measure_image_errors(expected, expected).tolist() == [0.0] * 3


def test_every_method_has_a_rule() -> None:
    assert set(RULES) == set(RangeMethod) - {RangeMethod.MINMAX, RangeMethod.AUTO}
