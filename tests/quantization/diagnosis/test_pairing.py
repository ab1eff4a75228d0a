from __future__ import annotations

import numpy as np
import pytest
from tiny_networks import NetworkSketch, draw_images, draw_weights

from edgevision.errors import InvalidModelError
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.diagnosis.diagnosis import diagnose_networks
from edgevision.quantization.diagnosis.pairing import pair_networks
from edgevision.quantization.engine import run_engine
from edgevision.specs import Scheme


def build(*, fused: bool = True, seed: int = 0, scale: np.ndarray | float = 1.0) -> bytes:
    net = NetworkSketch()
    spread = np.broadcast_to(np.asarray(scale, np.float32), (8,))[:, None, None, None]
    weights = draw_weights(8, 1, 1, 3, seed=seed) * spread
    x = net.conv(net.image, weights, name="first", relu=int(fused))
    if not fused:
        x = net.map("RELU", x, name="activated")
    readers = draw_weights(6, 1, 1, 8, seed=seed + 1) / spread.reshape(8)
    return net.finish(net.conv(x, readers, name="second"))


def quantize(model: bytes) -> bytes:
    graph = read_tflite(model)
    ranges = collect_ranges(model, graph, draw_images())
    bounds = {index: seen.bounds() for index, seen in ranges.items()}
    return run_engine(model, graph, Scheme.INT8, bounds=bounds)


def test_the_same_operations() -> None:
    model = build()
    pairs = pair_networks(read_tflite(model), read_tflite(quantize(model)))
    assert [pair.before.op.name for pair in pairs] == ["CONV_2D", "CONV_2D"]
    assert pairs[1].inputs == {pairs[0].after.output: pairs[0].before.output}


def test_an_activation_that_only_one_side_fused() -> None:
    before, after = build(fused=False), quantize(build())
    pairs = pair_networks(read_tflite(before), read_tflite(after))
    assert [(pair.before.last, pair.after.last) for pair in pairs] == [(1, 0), (2, 1)]
    diagnosis = diagnose_networks((before, after), draw_images())
    assert [layer.name for layer in diagnosis.layers] == ["activated", "second"]
    assert diagnosis.findings == ()
    assert diagnosis.unpaired == 0


def test_a_relu_fused_into_the_next_layer_belongs_to_that_layer() -> None:
    def build_three(*, fused: bool) -> bytes:
        net = NetworkSketch()
        x = net.conv(net.image, draw_weights(8, 1, 1, 3), name="first", relu=int(fused))
        x = x if fused else net.map("RELU", x, name="activated")
        x = net.conv(x, draw_weights(6, 1, 1, 8, seed=1), name="second")
        return net.finish(net.conv(x, draw_weights(7, 1, 1, 6, seed=2), name="third", relu=1))

    before, after = build_three(fused=False), quantize(build_three(fused=True))
    pairs = pair_networks(read_tflite(before), read_tflite(after))
    assert [(pair.before.last, pair.after.last) for pair in pairs] == [(1, 0), (2, 1), (3, 2)]
    diagnosis = diagnose_networks((before, after), draw_images())
    assert diagnosis.findings == ()
    assert diagnosis.unpaired == 0


def test_equalized_channels_are_no_noise() -> None:
    scale = np.geomspace(1, 60, 8)
    diagnosis = diagnose_networks((build(), quantize(build(scale=scale))), draw_images())
    assert diagnosis.rescaled == 1
    assert diagnosis.layers[0].sqnr_db is not None
    assert diagnosis.layers[0].sqnr_db > 15
    assert diagnosis.layers[0].shares is not None


def test_another_network_is_refused() -> None:
    with pytest.raises(InvalidModelError, match="do not pair"):
        diagnose_networks((build(), quantize(build(seed=7))), draw_images())
