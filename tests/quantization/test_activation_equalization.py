from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.activation_equalization import equalize_activations, find_pairs
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.network import Network


def test_network_stays_the_same_and_ranges_fill_up() -> None:
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    images = np.random.default_rng(1).uniform(-1, 1, (6, 1, 12, 12, 3)).astype(np.float32)
    ranges = collect_ranges(model, graph, images)
    network = Network(model=model, graph=graph, ranges=ranges)
    equalized, changed = equalize_activations(network, images)
    scaled = equalized.ranges
    assert changed == 1
    pairs = [(a.name, b.name) for a, b in find_pairs(graph)]
    assert pairs == [("CONV_2D", "DEPTHWISE_CONV_2D")]
    (after,), (before,) = run_network(equalized.model, images), run_network(model, images)
    assert np.abs(after - before).max() < 1e-6
    tensor = graph.ops[0].outputs[0]
    measured = collect_ranges(equalized.model, graph, images)[tensor]
    assert np.allclose(measured.high, scaled[tensor].high, atol=1e-5)
    assert scaled[tensor].high.min() > ranges[tensor].high.min()
    assert scaled[tensor].high.max() <= ranges[tensor].high.max()
