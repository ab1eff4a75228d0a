from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.bias_overflow import fit_biases
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.engine import run_engine
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import Network
from edgevision.specs import Scheme

IMAGES = np.random.default_rng(1).uniform(-1, 1, (6, 1, 12, 12, 3)).astype(np.float32)


def test_a_channel_without_weights_keeps_its_bias() -> None:
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    op = graph.ops[1]
    tensors = (get_weights(graph, op), get_bias(graph, op))
    changed = {t.index: np.array(t.data, np.float32) for t in tensors if t is not None}
    weights, bias = changed.values()
    weights[..., 1] *= 1e-30
    bias[1] = 2.0
    network = Network(model=model, graph=graph).with_constants(changed)
    ranges = collect_ranges(network.model, network.graph, IMAGES)
    bounds = {index: seen.bounds() for index, seen in ranges.items()}
    plain = run_engine(network.model, network.graph, Scheme.INT8, bounds=bounds)
    fitted = fit_biases(plain, network.graph)
    (expected,), (lost,), (kept,) = (run_network(m, IMAGES) for m in (network.model, plain, fitted))
    assert np.abs(kept - expected).max() < 0.25 * np.abs(lost - expected).max()
    assert fit_biases(fitted, network.graph) == fitted
