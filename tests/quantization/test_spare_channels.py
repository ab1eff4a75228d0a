from __future__ import annotations

import numpy as np
import pytest
from tiny_chains import IMAGES, build_chain

from edgevision.quantization.added_channels import measure_noise
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.layers import get_weights
from edgevision.quantization.network import Network
from edgevision.quantization.spare_channels import find_chains, share_places, use_spare_channels


def measure_chain(network: Network) -> float:
    return measure_noise(network, next(find_chains(network.graph)), IMAGES)


def find_step(network: Network) -> float:
    """Return the largest step of an activation in the chain."""
    ops = next(find_chains(network.graph))
    return max(network.ranges[op.outputs[0]].bounds()[1] for op in ops[:-1]) / 255


@pytest.mark.parametrize("extra", [0.0, 2.0])
def test_dead_places_take_copies_and_noise_falls(extra: float) -> None:
    network = build_chain((1, 4, 6), extra=extra)
    filled, changed = use_spare_channels(network, IMAGES)
    assert changed == 3
    (after,), (before,) = run_network(filled.model, IMAGES), run_network(network.model, IMAGES)
    readers = get_weights(network.graph, network.graph.ops[2]).data
    assert readers is not None
    assert np.abs(after - before).max() < find_step(network) * np.abs(readers).sum(axis=-1).max()
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    # What is shifted meets the padding, and here and there the ends of ReLU6; nothing else.
    assert np.median(np.abs(after - before)[inner]) < 1e-6
    assert measure_chain(filled) < 0.75 * measure_chain(network)


def test_ranges_are_those_of_the_filled_network() -> None:
    filled, _ = use_spare_channels(build_chain((0, 7)), IMAGES)
    measured = collect_ranges(filled.model, filled.graph, IMAGES)
    for op in filled.graph.ops[:2]:
        seen, told = measured[op.outputs[0]], filled.ranges[op.outputs[0]]
        assert np.abs(told.high - seen.high).max() <= 2 * find_step(filled)
        assert np.abs(told.low - seen.low).max() <= 2 * find_step(filled)


def test_without_dead_channels_nothing_happens() -> None:
    network = build_chain()
    filled, changed = use_spare_channels(network, IMAGES)
    assert changed == 0
    assert filled.model == network.model


def test_a_channel_that_only_these_images_leave_closed_keeps_its_place() -> None:
    network = build_chain((3,))
    graph = network.graph
    bias = graph.tensors[graph.ops[0].inputs[2]]
    assert bias.data is not None
    weights = get_weights(graph, graph.ops[0]).data
    assert weights is not None
    opening = float(np.abs(weights[3]).sum())  # the brightest image would just open it
    quiet = np.array(bias.data, np.float32)
    quiet[3] = -opening * 0.99
    network = network.with_constants({bias.index: quiet})
    network = network.with_ranges(collect_ranges(network.model, network.graph, IMAGES))
    assert network.ranges[graph.ops[0].outputs[0]].high[3] == 0
    assert use_spare_channels(network, IMAGES)[1] == 0


def test_places_go_to_the_noisiest_channel_again_and_again() -> None:
    assert share_places(np.array([100.0, 1.0, 90.0]), 4) == [0, 2, 0, 2]
    assert share_places(np.zeros(3), 2) == []


def test_chains_begin_and_end_with_a_convolution() -> None:
    kinds = [[op.name for op in ops] for ops in find_chains(build_chain().graph)]
    assert kinds == [["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]]
