from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import Network
from edgevision.quantization.weight_equalization import equalize_weights, find_balance


def build_uneven(images: np.ndarray) -> Network:
    """Build a network of which one channel is a hundred times quieter than the others."""
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    first, second = graph.ops[:2]
    factors = np.array([1.0, 0.01, 1.0, 1.0], np.float32)
    weights, bias, readers = (
        get_weights(graph, first),
        get_bias(graph, first),
        get_weights(graph, second),
    )
    assert bias is not None
    changed = {}
    for tensor, factor in (
        (weights, factors[:, None, None, None]),
        (bias, factors),
        (readers, 1 / factors),
    ):
        assert tensor.data is not None
        changed[tensor.index] = (tensor.data * factor).astype(np.float32)
    network = Network(model=model, graph=graph).with_constants(changed)
    return network.with_ranges(collect_ranges(network.model, network.graph, images))


def spread(network: Network) -> float:
    weights = get_weights(network.graph, network.graph.ops[0]).data
    assert weights is not None
    reach = np.abs(weights).max(axis=(1, 2, 3))
    return float(reach.max() / reach.min())


def test_weights_come_closer_and_the_network_stays_the_same() -> None:
    images = np.random.default_rng(1).uniform(-1, 1, (6, 1, 12, 12, 3)).astype(np.float32)
    network = build_uneven(images)
    equalized, changed = equalize_weights(network, images)
    assert changed == 1
    assert spread(equalized) < 0.1 * spread(network)
    (after,), (before,) = run_network(equalized.model, images), run_network(network.model, images)
    assert np.abs(after - before).max() < 1e-6
    tensor = network.graph.ops[0].outputs[0]
    measured = collect_ranges(equalized.model, network.graph, images)[tensor]
    assert np.allclose(measured.high, equalized.ranges[tensor].high, atol=1e-5)
    assert equalized.ranges[tensor].bounds()[1] <= network.ranges[tensor].bounds()[1] + 1e-6


def test_channels_never_shrink_and_dead_ones_stay() -> None:
    reach = (np.array([0.1, 1.0, 0.0]), np.array([1.0, 0.01, 1.0]))
    factors = find_balance(reach, np.array([2.0, 5.0, 9.0]))
    assert factors.tolist() == [2.0, 1.0, 1.0]
