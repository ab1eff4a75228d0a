from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from edgevision.benchmarks import latency
from edgevision.benchmarks.latency import (
    Interval,
    Latency,
    compare_latencies,
    find_interval,
    measure_latencies,
)
from edgevision.errors import InvalidConfigError, InvalidModelError


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WARMUP_SECONDS", 0.01)
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.002)


class Sleeper:
    """A model whose runs take a known time; remembers whose turn it was."""

    def __init__(self, seconds: float, name: str = "", order: list[str] | None = None) -> None:
        self._seconds, self._name, self._order = seconds, name, order

    def _run(self) -> None:
        if self._order is not None:
            self._order.append(self._name)
        time.sleep(self._seconds)

    def warm_up(self) -> tuple[float, int]:
        return latency.warm_up(self._run)

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        return latency.time_block(self._run, seconds, refill=refill)


class Breaking(Sleeper):
    """A model that fails at its second turn."""

    turns = 0

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        self.turns += 1
        if self.turns == 2:
            raise InvalidModelError("it fell over")
        return super().time_block(seconds, refill)


def measure(*models: Sleeper, seconds: float = 0.02) -> list[Latency]:
    measured = measure_latencies(models, seconds=seconds)
    return [m for m in measured if isinstance(m, Latency)]


def create_latency(*blocks: tuple[float, ...]) -> Latency:
    return Latency(blocks=blocks, first_ms=0, num_warmup=1)


def test_models_take_turns() -> None:
    order: list[str] = []
    measured = measure(Sleeper(0.001, "a", order), Sleeper(0.001, "b", order))
    assert sum(x != y for x, y in pairwise(order)) >= 4
    assert all(len(m.samples_ms) >= latency.MIN_SAMPLES for m in measured)


def test_slow_model_is_slower() -> None:
    slow, fast = measure(Sleeper(0.004), Sleeper(0.0005))
    assert slow.percentile(50) > fast.percentile(50)
    assert slow.first_ms >= 4
    assert compare_latencies(slow, fast).value > 1


def test_a_model_alone_needs_no_refill_and_others_do() -> None:
    order: list[str] = []
    latency.time_block(lambda: order.append("x"), 0, refill=False)
    assert len(order) == 1
    assert len(latency.time_block(lambda: order.append("x"), 0, refill=True)) == 1
    assert len(order) == 3


def test_long_runs_need_no_refill() -> None:
    refills: list[bool] = []

    class Slow(Sleeper):
        def time_block(self, _seconds: float, refill: bool) -> list[float]:
            refills.append(refill)
            return [30.0] * 10

    measure(Slow(0.001), Sleeper(0.001), seconds=0.6)
    assert refills[0]
    assert not any(refills[1:])


def test_a_model_that_breaks_does_not_end_the_others() -> None:
    broken, sound = measure_latencies([Breaking(0.001), Sleeper(0.001)], seconds=0.02)
    assert isinstance(broken, InvalidModelError)
    assert isinstance(sound, Latency)


def test_uncertain_medians_are_measured_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Jumpy(Sleeper):
        """Every other turn takes three times as long."""

        turn = 0

        def time_block(self, _seconds: float, _refill: bool) -> list[float]:
            self.turn += 1
            return [1.0 + 2 * (self.turn % 2)] * 10

    monkeypatch.setattr(latency, "MAX_EXTENSION", 5.0)
    steady, jumpy = measure(Sleeper(0.002), Jumpy(0.001), seconds=0.05)
    spent = sum(jumpy.samples_ms) / 1e3
    assert spent >= 0.25
    assert (jumpy.interval.low, jumpy.interval.high) == (1.0, 3.0)
    assert sum(steady.samples_ms) / 1e3 >= 0.05


def test_percentiles_are_samples() -> None:
    times = create_latency(tuple(float(v) for v in range(1, 51)), tuple(range(51, 101)))
    assert (times.percentile(50), times.percentile(90), times.percentile(99)) == (50.0, 90.0, 99.0)
    figures = times.to_dict()
    assert figures["mean"] == sum(range(1, 101)) / 100
    assert (figures["n"], figures["min"], figures["p99"]) == (100, 1.0, 99.0)


def test_interval_is_that_of_the_order_statistics() -> None:
    # Of 100 values the 41st and 60th enclose the median: 50 - 1.96 * 10 / 2 = 40.2.
    assert find_interval([float(v) for v in range(1, 101)]) == Interval(low=41.0, high=60.0)
    assert find_interval([7.0]) == Interval(low=7.0, high=7.0)


def test_interval_encloses_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(2000, 40))
    intervals = [find_interval(row.tolist()) for row in draws]
    enclosed = np.mean([i.low <= np.log(2) <= i.high for i in intervals])
    assert 0.93 <= enclosed <= 0.98


def test_turns_of_one_round_are_compared() -> None:
    """A machine that slows down for everybody changes no ratio."""
    one = create_latency((1.0,), (2.0,), (9.0,))
    other = create_latency((2.0,), (4.0,), (18.0,))
    ratio = compare_latencies(one, other)
    assert ratio.to_dict() == {"value": 0.5, "ci95": [0.5, 0.5]}


def test_nothing_to_measure() -> None:
    assert measure_latencies([]) == ()


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidConfigError, match="needs time"):
        measure_latencies([], seconds=seconds)


def test_progress_reaches_its_total() -> None:
    seen: list[tuple[int, int]] = []
    measure_latencies(
        [Sleeper(0.001)],
        seconds=0.02,
        progress=lambda _stage, done, total: seen.append((done, total)),
    )
    assert seen[-1] == (2, 2)
