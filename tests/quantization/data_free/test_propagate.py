from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_networks import RELU, NetworkSketch, draw_weights

from edgevision.errors import UnsupportedOpError
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.data_free.propagate import propagate_spreads
from edgevision.quantization.data_free.spread import Spread, spread_normal

Array = np.ndarray[Any, Any]

MEAN, STD = np.array([0.5, -0.2, 0.0]), np.array([1.0, 0.5, 0.2])
PIXELS = MEAN + STD * np.random.default_rng(0).normal(size=(64, 1, 8, 8, 3))
IMAGES = PIXELS.astype(np.float32)
FIRST, SECOND = draw_weights(4, 1, 1, 3, seed=1), draw_weights(4, 1, 1, 3, seed=2)


def tell(sketch: NetworkSketch, output: int) -> tuple[Spread, tuple[Array, Array]]:
    """Return what is told of a tensor, and its true ends on images of the told statistics."""
    model = sketch.finish(output)
    graph = read_tflite(model)
    spreads = propagate_spreads(graph, spread_normal(MEAN, STD))
    seen = collect_ranges(model, graph, IMAGES)[output]
    return spreads[output], (seen.low, seen.high)


def test_layers_without_normalization_weigh_their_inputs() -> None:
    sketch = NetworkSketch()
    spread, (low, high) = tell(sketch, sketch.conv(sketch.image, FIRST, 0.5, name="conv"))
    rows = FIRST[:, 0, 0].astype(np.float64)
    assert np.allclose(spread.mean, rows @ MEAN + 0.5)
    assert np.allclose(spread.std, np.sqrt(rows**2 @ STD**2))
    assert np.all((spread.low < low) & (spread.high > high))


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_joined_tensors_stay_within(op: str) -> None:
    sketch = NetworkSketch()
    # One part tells nothing of the other.
    apart = np.array([1, 0, 0]), np.array([0, 1, 1])
    parts = [
        sketch.conv(sketch.image, w * own, 0.5, name=f"conv_{i}", relu=RELU)
        for i, (w, own) in enumerate(zip((FIRST, SECOND), apart, strict=True))
    ]
    spread, (low, high) = tell(sketch, sketch.join(op, *parts, name="joined"))
    assert np.all((spread.low <= low) & (spread.high >= high))
    assert np.all(spread.low >= 0)


def test_concatenated_channels_keep_their_own() -> None:
    sketch = NetworkSketch()
    parts = [
        sketch.conv(sketch.image, w, name=f"conv_{i}") for i, w in enumerate((FIRST, 9 * SECOND))
    ]
    spread, (low, high) = tell(sketch, sketch.concat(parts, name="both"))
    assert np.all((spread.low <= low) & (spread.high >= high))
    assert spread.high[:4].max() < spread.high[4:].max() / 3


def test_probabilities_end_at_one() -> None:
    sketch = NetworkSketch()
    logits = sketch.dense(sketch.mean(sketch.image, name="mean"), FIRST[:, 0, 0], name="logits")
    spread, _ = tell(sketch, sketch.map("SOFTMAX", logits, name="probabilities"))
    assert spread.low.tolist() == [0] * 4
    assert spread.high.tolist() == [1] * 4


def test_what_is_known_comes_first() -> None:
    sketch = NetworkSketch()
    output = sketch.conv(sketch.image, FIRST, name="conv", relu=RELU)
    graph = read_tflite(sketch.finish(output))
    known = {output: spread_normal(np.full(4, -9.0), np.ones(4))}
    spreads = propagate_spreads(graph, spread_normal(MEAN, STD), known=known)
    assert spreads[output].high.tolist() == [0] * 4


def test_what_can_not_be_told_is_refused() -> None:
    sketch = NetworkSketch()
    graph = read_tflite(sketch.finish(sketch.map("EXP", sketch.image, name="exp")))
    with pytest.raises(UnsupportedOpError, match="EXP"):
        propagate_spreads(graph, spread_normal(MEAN, STD))
