from __future__ import annotations

from tiny_models import build_classifier

from edgevision.quantization.price import measure_price


def test_both_are_timed() -> None:
    price = measure_price(build_classifier(size=32), build_classifier(size=8))
    assert price.latency_ms > 0
    assert price.ratio > 0
