from __future__ import annotations

import time
from itertools import pairwise

import pytest

from edgevision.benchmarks import latency
from edgevision.benchmarks.latency import Latency, measure_latencies
from edgevision.errors import InvalidConfigError


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WARMUP_SECONDS", 0.01)
    monkeypatch.setattr(latency, "BLOCK_SECONDS", 0.002)


def test_models_take_turns() -> None:
    order: list[str] = []

    def run(name: str) -> None:
        order.append(name)
        time.sleep(0.001)

    measured = measure_latencies([lambda: run("a"), lambda: run("b")], seconds=0.02, min_samples=4)
    switches = sum(x != y for x, y in pairwise(order))
    assert switches >= 4
    assert all(len(m.samples_ms) >= 4 for m in measured)


def test_slow_model_is_slower() -> None:
    slow, fast = measure_latencies(
        [lambda: time.sleep(0.004), lambda: time.sleep(0.0005)], seconds=0.02, min_samples=3
    )
    assert slow.percentile(50) > fast.percentile(50)
    assert slow.first_ms >= 4


def test_percentiles_are_samples() -> None:
    times = Latency(samples_ms=tuple(float(v) for v in range(1, 101)), first_ms=0, num_warmup=1)
    assert (times.percentile(50), times.percentile(90), times.percentile(99)) == (50.0, 90.0, 99.0)
    figures = times.to_dict()
    assert figures["mean"] == sum(range(1, 101)) / 100
    assert (figures["n"], figures["min"]) == (100, 1.0)


def test_nothing_to_measure() -> None:
    assert measure_latencies([]) == ()


@pytest.mark.parametrize("options", [{"seconds": 0}, {"min_samples": 0}])
def test_no_time_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidConfigError, match="time and samples"):
        measure_latencies([lambda: None], **options)  # type: ignore[arg-type]


def test_progress_reaches_its_total() -> None:
    seen: list[tuple[int, int]] = []
    measure_latencies(
        [lambda: time.sleep(0.001)],
        seconds=0.02,
        progress=lambda _stage, done, total: seen.append((done, total)),
    )
    assert seen[-1] == (2, 2)
