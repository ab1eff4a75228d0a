from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layers import find_layers, get_weights
from edgevision.quantization.network import Network


def test_constants_and_ranges_are_replaced() -> None:
    model = build_classifier()
    network = Network(model=model, graph=read_tflite(model))
    weights = get_weights(network.graph, find_layers(network.graph)[0])
    zeros = np.zeros(weights.shape, np.float32)
    changed = network.with_constants({weights.index: zeros})
    data = changed.graph.tensors[weights.index].data
    assert data is not None
    assert not data.any()
    assert weights.data is not None
    assert weights.data.any()
    assert network.with_constants({}) is network
    seen = ChannelRange(low=np.zeros(1), high=np.ones(1))
    assert changed.with_ranges({0: seen}).ranges == {0: seen}
    assert changed.ranges == {}
