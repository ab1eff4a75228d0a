from __future__ import annotations

from typing import Any

import pytest
from tiny_models import build_classifier

from edgevision.quantization import price
from edgevision.quantization.price import measure_price


def test_both_are_timed() -> None:
    price = measure_price(build_classifier(size=32), build_classifier(size=8))
    assert price.latency_ms > 0
    assert price.ratio > 0


def test_a_file_against_itself_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []
    open_one = price._open

    def count(model: bytes, threads: int) -> Any:
        opened.append(model)
        return open_one(model, threads)

    monkeypatch.setattr(price, "_open", count)
    model = build_classifier(size=8)
    assert measure_price(model).ratio == 1.0
    assert opened == [model]


class Slow:
    """Takes three seconds of a clock that nobody waits for."""

    now = 0.0
    runs = 0

    def invoke(self) -> None:
        Slow.now += 3.0
        Slow.runs += 1


def test_slow_models_run_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price, "_open", lambda _model, _threads: Slow())
    monkeypatch.setattr(price.time, "perf_counter", lambda: Slow.now)
    assert measure_price(b"", b"") == price.Price(latency_ms=3000.0, ratio=1.0)
    assert Slow.runs == 2
