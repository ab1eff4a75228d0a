from __future__ import annotations

import numpy as np
import pytest
from tiny_networks import NetworkSketch, draw_weights

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.data_free.correct import (
    correct_network,
    correlate_places,
    tell_moments,
)
from edgevision.quantization.data_free.spread import spread_normal
from edgevision.quantization.engine import run_engine
from edgevision.quantization.steps import Step
from edgevision.specs import Scheme

MEAN, STD = np.array([3.0, -2.0, 2.0]), np.full(3, 0.05)
IMAGES = (MEAN + STD * np.random.default_rng(0).normal(size=(8, 1, 8, 8, 3))).astype(np.float32)


def build() -> tuple[bytes, int]:
    sketch = NetworkSketch()
    output = sketch.conv(sketch.image, draw_weights(5, 3, 3, 3, seed=1), name="conv")
    return sketch.finish(output), output


def test_the_mean_of_outputs_is_taken_back() -> None:
    model, output = build()
    graph = read_tflite(model)
    bounds = {graph.inputs[0]: (-3.0, 4.0), output: (-12.0, 12.0)}
    quantized = run_engine(model, graph, Scheme.INT8_PER_TENSOR, bounds=bounds)
    spreads = {graph.inputs[0]: spread_normal(MEAN, STD)}
    corrected, (report,) = correct_network((model, quantized), spreads, [Step.BIAS_CORRECTION])
    assert report.layers == 1
    expected = run_network(model, IMAGES)[0]
    before, after = (
        np.abs((run_network(m, IMAGES)[0] - expected).mean(axis=(0, 1, 2, 3))).max()
        for m in (quantized, corrected)
    )
    assert after < before / 2


def test_no_step_changes_nothing() -> None:
    model, output = build()
    graph = read_tflite(model)
    bounds = {graph.inputs[0]: (-3.0, 4.0), output: (-12.0, 12.0)}
    quantized = run_engine(model, graph, Scheme.INT8, bounds=bounds)
    spreads = {graph.inputs[0]: spread_normal(MEAN, STD)}
    corrected, reports = correct_network((model, quantized), spreads, [])
    assert reports == []
    for a, b in zip(run_network(corrected, IMAGES), run_network(quantized, IMAGES), strict=True):
        assert np.array_equal(a, b)


def test_padding_counts_as_zero() -> None:
    graph = read_tflite(build()[0])
    moments = tell_moments(graph, graph.ops[0], spread_normal(MEAN, STD))
    patch = moments.mean_float.reshape(3, 3, 3)
    assert np.allclose(patch[1, 1], MEAN)
    assert np.allclose(patch[0, 1], MEAN * 7 / 8)
    assert np.allclose(patch[0, 0], MEAN * (7 / 8) ** 2)


@pytest.mark.parametrize("shape", [(5, 3, 3, 4), (1, 5, 5, 4), (7, 2)])
def test_correlations_can_be_inverted(shape: tuple[int, ...]) -> None:
    size = shape[1] * shape[2] * shape[3] if len(shape) == 4 else shape[1]
    correlation = correlate_places(shape, size)
    assert np.linalg.eigvalsh(correlation).min() > 1e-3
    assert np.diagonal(correlation).tolist() == [1] * size
