"""Channels that are elsewhere in the quantized network are no noise, and cause nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_chains import IMAGES, build_chain
from tiny_networks import NetworkSketch, draw_images, draw_weights

from edgevision.graph.tflite import read_tflite
from edgevision.quantization import added_channels
from edgevision.quantization.activation_equalization import equalize_activations
from edgevision.quantization.added_channels import add_channels
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.diagnosis.diagnosis import Diagnosis, diagnose_networks
from edgevision.quantization.engine import run_engine
from edgevision.quantization.gates import raise_floors
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.constant_arithmetic import fold_constants
from edgevision.quantization.rewrites.global_pooling import replace_global_pooling
from edgevision.quantization.rewrites.hard_swish import expand_hard_swish
from edgevision.quantization.shared_ranges import share_ranges
from edgevision.quantization.spare_channels import use_spare_channels
from edgevision.specs import Scheme

Array = np.ndarray[Any, Any]


def quantize(network: Network, scheme: Scheme = Scheme.INT8) -> bytes:
    ranges = share_ranges(network.graph, network.ranges)
    bounds = {index: seen.bounds() for index, seen in ranges.items()}
    return run_engine(network.model, network.graph, scheme, bounds=bounds)


def check_sound(diagnosis: Diagnosis, least: float) -> None:
    assert diagnosis.findings == ()
    assert diagnosis.unpaired == 0
    for layer in diagnosis.layers:
        assert layer.worst_db is None or layer.worst_db > least, layer.name
        assert layer.sqnr_db is None or layer.sqnr_db > least, layer.name


@pytest.mark.parametrize("extra", [0.0, 2.0])
@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.INT8_PER_TENSOR])
def test_copies_in_the_places_of_dead_channels(scheme: Scheme, extra: float) -> None:
    network = build_chain((1, 4, 6), extra=extra)
    filled, changed = use_spare_channels(network, IMAGES)
    assert changed == 3
    diagnosis = diagnose_networks((network.model, quantize(filled, scheme)), IMAGES)
    check_sound(diagnosis, 30)
    assert diagnosis.rescaled == 2
    # As good as beside the network that the file was made from; copies are averaged.
    own = diagnose_networks((filled.model, quantize(filled, scheme)), IMAGES)
    for seen, known in zip(diagnosis.layers, own.layers, strict=True):
        assert seen.sqnr_db is not None
        assert known.sqnr_db is not None
        assert -1 < seen.sqnr_db - known.sqnr_db < 7


@pytest.mark.parametrize("dead", [(), (2, 5)])
def test_added_channels(dead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added_channels, "_LARGEST_NOISE", 0.0)
    monkeypatch.setattr(added_channels, "_LARGEST_GROWTH", 2.0)
    network = build_chain(dead)
    wide, added = add_channels(equalize_activations(network, IMAGES)[0], IMAGES)
    assert added == 3
    filled, _ = use_spare_channels(wide, IMAGES)
    diagnosis = diagnose_networks((network.model, quantize(filled)), IMAGES)
    check_sound(diagnosis, 30)
    assert [len(layer.output.reaches) for layer in diagnosis.layers] == [16, 16, 5]


def test_added_channels_that_stay_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added_channels, "_LARGEST_NOISE", 0.0)
    monkeypatch.setattr(added_channels, "_LARGEST_GROWTH", 2.0)
    network = build_chain()
    wide, _ = add_channels(network, IMAGES)
    check_sound(diagnose_networks((network.model, quantize(wide)), IMAGES), 30)


def test_a_copy_that_is_none_is_still_found_out() -> None:
    network = build_chain((1,))
    filled, _ = use_spare_channels(network, IMAGES)
    weights = filled.graph.tensors[filled.graph.ops[2].inputs[1]]
    assert weights.data is not None
    doubled = np.array(weights.data)
    doubled[..., 1] *= 3
    broken = filled.with_constants({weights.index: doubled})
    diagnosis = diagnose_networks((network.model, quantize(broken)), IMAGES)
    assert diagnosis.layers[-1].local_sqnr_db is not None
    assert diagnosis.layers[-1].local_sqnr_db < 25


def build_swish() -> bytes:
    net = NetworkSketch()
    x = net.map("HARD_SWISH", net.conv(net.image, 3 * draw_weights(8, 1, 1, 3), name="a"), name="b")
    x = net.map("HARD_SWISH", net.depthwise(x, draw_weights(1, 3, 3, 8), name="c"), name="d")
    gates = net.conv(net.average(x, name="pool"), draw_weights(8, 1, 1, 8), 1, name="e", relu=3)
    x = net.join("MUL", x, gates, name="f")
    x = net.conv(x, draw_weights(6, 1, 1, 8, seed=4), name="g")
    return net.finish(net.conv(x, draw_weights(6, 1, 1, 6, seed=5), name="h", relu=1))


def test_hard_swish_as_a_gate_and_a_product() -> None:
    model, images = build_swish(), draw_images()
    network = Network(model=model, graph=read_tflite(model))
    network, _ = replace_global_pooling(network)
    network, expanded = expand_hard_swish(network)
    assert expanded == 2
    network, _ = fold_constants(network)
    ranges = raise_floors(network.graph, collect_ranges(network.model, network.graph, images))
    network, _ = equalize_activations(network.with_ranges(ranges), images)
    diagnosis = diagnose_networks((model, quantize(network)), images)
    check_sound(diagnosis, 24)
    ops = [layer.op for layer in diagnosis.layers]
    assert ops == [
        *("CONV_2D", "MUL", "DEPTHWISE_CONV_2D", "MUL", "MEAN", "CONV_2D", "MUL"),
        *("CONV_2D", "CONV_2D"),
    ]


def test_what_a_gate_closes_is_not_clipped() -> None:
    net = NetworkSketch()
    layer = net.conv(net.image, 12 * draw_weights(8, 1, 1, 3), name="layer")
    model, images = net.finish(net.map("HARD_SWISH", layer, name="swish")), draw_images()
    graph = read_tflite(model)
    seen = collect_ranges(model, graph, images)
    assert min(seen[graph.ops[0].outputs[0]].low) < -10
    network = Network(model=model, graph=graph).with_ranges(raise_floors(graph, seen))
    diagnosis = diagnose_networks((model, quantize(network)), images)
    check_sound(diagnosis, 30)
    first = diagnosis.layers[0].output
    assert first.clipped == 0
    assert first.low == pytest.approx(-3)
    # Behind anything else the same range is a fault.
    plain = NetworkSketch()
    layer = plain.conv(plain.image, 12 * draw_weights(8, 1, 1, 3), name="layer")
    model = plain.finish(layer)
    graph = read_tflite(model)
    bounds = {index: seen.bounds() for index, seen in network.ranges.items() if index < layer + 1}
    clipped = diagnose_networks(
        (model, run_engine(model, graph, Scheme.INT8, bounds=bounds)), images
    )
    assert [str(finding.cause) for finding in clipped.findings] == ["clipped_range"]
