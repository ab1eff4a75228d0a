from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization import restarts
from edgevision.quantization.descent import measure_loss
from edgevision.quantization.layers import Layer
from edgevision.quantization.moments import Moments
from edgevision.quantization.restarts import RoundingTime, refine_layer
from edgevision.quantization.rounding import damp, round_layer

FOREVER = 1e9


def draw_layer(shape: tuple[int, int, int], *, shared: bool = False, seed: int = 0) -> Layer:
    groups, _, size = shape
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(groups, 500, size)) @ rng.normal(size=(groups, size, size))
    covariance = rows.transpose(0, 2, 1) @ rows / rows.shape[1]
    weights = rng.normal(size=shape)
    reach = np.abs(weights).max(axis=2)
    zeros = np.zeros((groups, size))
    moments = Moments(
        mean_float=zeros,
        mean_quantized=zeros,
        covariance=covariance,
        cross=np.zeros_like(covariance),
        num_rows=rows.shape[1],
    )
    return Layer(
        name="layer",
        op=read_tflite(build_classifier()).ops[0],
        weights=weights,
        target=weights,
        integers=np.zeros(shape, np.int8),
        scales=np.broadcast_to(reach.max(), reach.shape) / 31 if shared else reach / 31,
        shares_scale=shared,
        float_bias=np.zeros(shape[:2]),
        bias=np.zeros(shape[:2]),
        has_bias=True,
        moments=moments,
    )


def measure(layer: Layer) -> np.ndarray:
    metric = damp(layer.moments.covariance, num_rows=layer.moments.num_rows)
    return measure_loss(layer.target, layer.scales, layer.integers, metric=metric)


@pytest.mark.parametrize("shape", [(6, 1, 9), (1, 8, 40)])
@pytest.mark.parametrize("shared", [False, True])
def test_no_row_gets_worse_and_the_whole_better(shape: tuple[int, int, int], shared: bool) -> None:
    layer = draw_layer(shape, shared=shared)
    once, more = measure(round_layer(layer)), measure(refine_layer(layer, seconds=FOREVER))
    assert np.all(more <= once)
    assert more.sum() < 0.97 * once.sum()


def test_it_ends_by_itself_and_gives_the_same_every_time() -> None:
    layer = draw_layer((4, 1, 9))
    one, other = (refine_layer(layer, seconds=FOREVER) for _ in range(2))
    assert np.array_equal(one.integers, other.integers)
    assert np.array_equal(one.scales, other.scales)


def test_a_shared_step_stays_as_it_is() -> None:
    layer = draw_layer((1, 5, 12), shared=True)
    refined = refine_layer(layer, seconds=FOREVER)
    assert np.array_equal(refined.scales, round_layer(layer).scales)
    assert len(np.unique(refined.scales)) == 1


def test_without_time_the_first_solution_stays() -> None:
    layer = draw_layer((1, 5, 12))
    assert np.array_equal(refine_layer(layer, seconds=0.0).integers, round_layer(layer).integers)


def test_layers_that_are_not_rounded_are_not_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgevision.quantization.rounding.MAX_SIZE", 8)
    monkeypatch.setattr(restarts, "MAX_SIZE", 8)
    layer = draw_layer((1, 5, 12))
    assert refine_layer(layer, seconds=FOREVER) is layer


def test_layers_share_time_by_their_weights_and_leave_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, given = [0.0], list[float]()

    def refine(layer: Layer, *, seconds: float) -> Layer:
        given.append(seconds)
        now[0] += min(seconds, 1.0)
        return layer

    class Clock:
        perf_counter = staticmethod(lambda: now[0])

    monkeypatch.setattr(restarts, "time", Clock)
    monkeypatch.setattr(restarts, "refine_layer", refine)
    small, large = draw_layer((1, 1, 10)), draw_layer((1, 3, 10))
    timed = RoundingTime(seconds=12.0, weights=80)
    for layer in (small, large, large, small):
        timed.round(layer)
    # 12 · 10/80, then what the first left of its 1.5: 11 · 30/70, 10 · 30/40, 9 · 10/10
    assert given == pytest.approx([1.5, 11 * 3 / 7, 7.5, 9.0])


def test_time_that_is_over_stops_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    count, now = [0], [0.0]

    def tick(*arguments: Any) -> None:
        count[0] += 1
        now[0] += 1.0

    class Clock:
        perf_counter = staticmethod(lambda: now[0])

    monkeypatch.setattr(restarts, "time", Clock)
    monkeypatch.setattr(restarts._Search, "restart", tick)
    refine_layer(draw_layer((1, 2, 5)), seconds=3.5)
    assert count == [3]
