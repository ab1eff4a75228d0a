from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import ChannelRange, collect_ranges
from edgevision.quantization.network import Network
from edgevision.quantization.sensitivity import measure_sensitivity, round_values

IMAGES = np.random.default_rng(1).uniform(-1, 1, (20, 1, 12, 12, 3)).astype(np.float32)


def test_the_activation_with_the_widest_range_costs_most() -> None:
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    ranges = collect_ranges(model, graph, IMAGES)
    wide = graph.ops[1].outputs[0]
    ranges[wide] = ChannelRange(low=ranges[wide].low, high=ranges[wide].high * 100)
    network = Network(model=model, graph=graph, ranges=ranges)
    found = measure_sensitivity(network, IMAGES, threads=1)
    assert found[0].writers == (1,)
    assert found[0].name == graph.tensors[wide].name
    assert [item.error for item in found] == sorted((i.error for i in found), reverse=True)
    assert {index for item in found for index in item.writers} == set(range(len(graph.ops)))


def test_values_become_codes_of_the_range() -> None:
    seen = ChannelRange(low=np.array([-1.0]), high=np.array([1.55]))
    rounded = round_values(np.array([0.0, 0.004, 0.016, 9.0], np.float32), seen)
    assert np.allclose(rounded, [0.0, 0.0, 0.02, 1.55], atol=1e-6)


def test_sixteen_bits_have_no_zero_point_and_cost_next_to_nothing() -> None:
    seen = ChannelRange(low=np.array([-1.0]), high=np.array([3.2767]))
    rounded = round_values(np.array([0.0, 0.00014, -3.3, 9.0], np.float32), seen, bits=16)
    assert np.allclose(rounded, [0.0, 0.0001, -3.2767, 3.2767], atol=1e-7)
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    network = Network(model=model, graph=graph, ranges=collect_ranges(model, graph, IMAGES))
    costs = {
        bits: sum(item.error for item in measure_sensitivity(network, IMAGES, bits=bits))
        for bits in (8, 16)
    }
    assert costs[16] < 1e-3 * costs[8]


def test_what_is_late_is_left_out() -> None:
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    network = Network(model=model, graph=graph, ranges=collect_ranges(model, graph, IMAGES))
    asked = iter([False, False, True])
    found = measure_sensitivity(network, IMAGES, is_late=lambda: next(asked))
    assert sorted(item.writers for item in found) == [(0,), (1,)]
