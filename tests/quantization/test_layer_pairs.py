from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layer_pairs import (
    find_pairs,
    find_room,
    is_padded,
    measure_reach,
    push_values,
)


def test_pairs_are_layers_that_alone_read_each_other() -> None:
    graph = read_tflite(build_classifier())
    pairs = [(a.name, b.name) for a, b in find_pairs(graph)]
    assert pairs == [("CONV_2D", "DEPTHWISE_CONV_2D")]


def test_room_looks_at_both_ends() -> None:
    seen = ChannelRange(low=np.array([-4.0, -1.0]), high=np.array([1.0, 8.0]))
    assert np.allclose(find_room(seen), [1 / 1.1, 1 / 1.1])


def test_reach_is_the_largest_weight_of_an_output_channel() -> None:
    graph = read_tflite(build_classifier())
    weights = np.zeros((4, 3, 3, 3))
    weights[2, 1, 1, 0] = -5
    assert measure_reach(graph.ops[0], weights).tolist() == [0, 0, 5, 0]
    weights = np.zeros((1, 3, 3, 4))
    weights[0, 1, 1, 3] = 2
    assert measure_reach(graph.ops[1], weights).tolist() == [0, 0, 0, 2]


def test_values_behind_one_layer_in_front_of_the_next() -> None:
    graph = read_tflite(build_classifier())
    conv, depthwise = graph.ops[:2]
    weights = np.arange(8.0).reshape(2, 2, 1, 2)
    assert push_values(conv, weights, np.array([1.0, 10.0])).tolist() == [
        0 + 10 + 2 + 30,
        4 + 50 + 6 + 70,
    ]
    assert push_values(depthwise, np.ones((1, 2, 2, 2)), np.array([1.0, 10.0])).tolist() == [4, 40]
    assert is_padded(conv, graph.tensors[conv.inputs[1]])
