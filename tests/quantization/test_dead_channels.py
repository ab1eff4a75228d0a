from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.dead_channels import remove_dead_channels
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import Network

IMAGES = np.random.default_rng(1).uniform(-1, 1, (6, 1, 12, 12, 3)).astype(np.float32)


def build(bias: float, scale: float) -> Network:
    """Build a network with channel 2 of the first layer at ``bias``, and huge weights behind it."""
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    first, second = graph.ops[:2]
    tensors = (get_weights(graph, first), get_bias(graph, first), get_weights(graph, second))
    changed = {t.index: np.array(t.data, np.float32) for t in tensors if t is not None}
    weights, biases, readers = changed.values()
    weights[2] *= scale
    biases[2] = bias
    readers[..., 2] = 1000
    network = Network(model=model, graph=graph).with_constants(changed)
    return network.with_ranges(collect_ranges(network.model, network.graph, IMAGES))


def read_weights(network: Network, index: int) -> np.ndarray:
    data = get_weights(network.graph, network.graph.ops[index]).data
    assert data is not None
    return data


def test_dead_channels_leave_the_weights_and_the_network_stays_the_same() -> None:
    network = build(-1e3, 1.0)
    cleaned, changed = remove_dead_channels(network, IMAGES)
    assert changed == 2
    assert not read_weights(cleaned, 0)[2].any()
    assert np.abs(read_weights(cleaned, 1)).max() < 10
    (after,), (before,) = run_network(cleaned.model, IMAGES), run_network(network.model, IMAGES)
    assert np.abs(after - before).max() < 1e-6


def test_a_constant_stays_where_the_edges_are_padded_with_zeros() -> None:
    network = build(5.0, 0.0)
    cleaned, _ = remove_dead_channels(network, IMAGES)
    assert np.abs(read_weights(cleaned, 1)).max() == 1000
    (after,), (before,) = run_network(cleaned.model, IMAGES), run_network(network.model, IMAGES)
    assert np.abs(after - before).max() < 1e-6


def test_a_quiet_channel_is_not_dead() -> None:
    network = build(0.01, 1e-3)
    cleaned, changed = remove_dead_channels(network, IMAGES)
    assert changed == 0
    assert cleaned.model == network.model
