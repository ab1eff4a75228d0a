from __future__ import annotations

import numpy as np
import pytest
from tiny_chains import IMAGES, build_chain

from edgevision.quantization.calibrate import ChannelRange, collect_ranges
from edgevision.quantization.channel_bounds import bound_channels, bound_outputs, read_constants


@pytest.mark.parametrize("position", [0, 1, 2])
def test_bounds_hold_what_other_images_give(position: int) -> None:
    network = build_chain((2,))
    bounds = bound_channels(network.graph, network.ranges)
    other = np.random.default_rng(7).uniform(-1, 1, IMAGES.shape).astype(np.float32)
    tensor = network.graph.ops[position].outputs[0]
    seen = collect_ranges(network.model, network.graph, other)[tensor]
    assert np.all(bounds[tensor].low <= seen.low + 1e-5)
    assert np.all(bounds[tensor].high >= seen.high - 1e-5)


def test_a_channel_without_inputs_has_one_value() -> None:
    network = build_chain((2, 5))
    bounds = bound_channels(network.graph, network.ranges)
    for op in network.graph.ops[:2]:
        seen = bounds[op.outputs[0]]
        assert np.flatnonzero(seen.high == seen.low).tolist() == [2, 5]


@pytest.mark.parametrize(("size", "lowest"), [((12, 12), 4.0), ((1, 1), 1.0)])
def test_at_a_corner_at_least_a_quarter_of_the_kernel_is_inside(
    size: tuple[int, int], lowest: float
) -> None:
    network = build_chain()
    op = network.graph.ops[1]
    weights, bias = read_constants(network.graph, op)
    ones = np.ones_like(bias)
    given = ChannelRange(low=ones, high=ones)
    low, high = bound_outputs(op, (np.ones_like(weights) / 3, 0 * bias), given=given, size=size)
    assert np.allclose(low, lowest / 3)
    assert np.allclose(high, 3.0 if size[0] > 1 else high)
