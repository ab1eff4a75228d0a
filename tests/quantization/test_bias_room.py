from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.bias_room import leave_bias_room
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layers import find_layers, get_activations, get_bias, get_weights


def test_a_silent_input_leaves_room_for_the_bias() -> None:
    graph = read_tflite(build_classifier())
    layers = find_layers(graph)
    tiny = {
        get_activations(graph, op)[0].index: ChannelRange(
            low=np.float32([0]), high=np.float32([1e-12])
        )
        for op in layers
    }

    widened = leave_bias_room(graph, tiny)

    for op in layers:
        low, high = widened[get_activations(graph, op)[0].index].bounds()
        weights, bias = get_weights(graph, op).data, get_bias(graph, op)
        assert weights is not None
        assert bias is not None
        assert bias.data is not None
        step = (high - low) / 255 * np.abs(weights).max() / 127
        assert np.abs(bias.data).max() / step < 2**31


def test_real_inputs_keep_their_range() -> None:
    graph = read_tflite(build_classifier())
    ranges = {
        t.index: ChannelRange(low=np.float32([-1]), high=np.float32([1]))
        for t in graph.tensors
        if t.data is None
    }

    assert leave_bias_room(graph, ranges) == ranges
