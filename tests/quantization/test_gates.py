from __future__ import annotations

import numpy as np
import pytest
from tiny_rewrites import IMAGES, SHAPE, Sketch

from edgevision.quantization.activation_equalization import equalize_activations, weigh_factors
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import ChannelRange, collect_ranges
from edgevision.quantization.gates import (
    clip_unread,
    find_floors,
    find_gated_products,
    raise_floors,
)
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.hard_swish import expand_hard_swish


def build_swish(*, quiet: float = 1.0, expanded: bool = True) -> Network:
    """Build conv, hard-swish, squeeze-and-excitation, conv; three channels of the first are quiet.

    Args:
        quiet: Factor of the weights of the quiet channels.
        expanded: Whether the hard-swish is written as a product.
    """
    sketch = Sketch()
    first = sketch.conv(sketch.image)
    swish = sketch.op("HARD_SWISH", [first])
    mean = sketch.mean(swish)
    squeezed = sketch.conv(mean)
    sketch.editor.model.subgraphs[0].tensors[squeezed].shape = [1, 1, 1, SHAPE[3]]
    gate = sketch.op("LOGISTIC", [squeezed], shape=(1, 1, 1, SHAPE[3]))
    network = sketch.close(sketch.conv(sketch.op("MUL", [swish, gate], ("MulOptions", {}))))
    weights = network.graph.tensors[network.graph.ops[0].inputs[1]]
    assert weights.data is not None
    scaled = weights.data * np.array([1, quiet, quiet, quiet]).reshape(-1, 1, 1, 1)
    network = network.with_constants({weights.index: scaled.astype(np.float32)})
    network = expand_hard_swish(network)[0] if expanded else network
    return network.with_ranges(collect_ranges(network.model, network.graph, IMAGES))


def find_source(network: Network) -> int:
    return network.graph.ops[0].outputs[0]


def test_ranges_begin_a_step_below_where_the_gate_closes() -> None:
    for network, floor in ((build_swish(), -0.5), (build_swish(expanded=False), -3.0)):
        source = find_source(network)
        assert np.allclose(find_floors(network.graph)[source], floor)
        before = network.ranges[source].bounds()
        low, high = raise_floors(network.graph, network.ranges)[source].bounds()
        assert before[0] < 4 * floor
        assert high == before[1]
        assert low == pytest.approx(floor - (high - floor) / 254, rel=1e-5)


def test_what_a_floor_cuts_off_changes_nothing() -> None:
    network = build_swish()
    floors = find_floors(network.graph)
    values = np.linspace(-9, 9, 64, dtype=np.float32).reshape(-1, 4)
    clipped = clip_unread(values, floors, find_source(network))

    def swish(u: np.ndarray) -> np.ndarray:
        return u * np.clip(6 * u + 3, 0, 6)

    assert np.allclose(swish(clipped), swish(values), atol=1e-6)
    assert clipped.min() == -0.5
    assert clip_unread(values, floors, -1) is values


def test_an_activation_that_something_else_reads_has_no_floor() -> None:
    sketch = Sketch()
    first = sketch.conv(sketch.image)
    product = sketch.op("HARD_SWISH", [first])
    network = sketch.close(sketch.conv(product), sketch.conv(first))
    assert find_floors(network.graph) == {}
    output = Sketch()
    shown = output.conv(output.image)
    assert find_floors(output.close(shown, output.op("RELU", [shown])).graph) == {}


def test_factors_go_through_the_product_and_squeeze_and_excitation() -> None:
    network = build_swish(quiet=0.1)
    network = network.with_ranges(raise_floors(network.graph, network.ranges))
    (found,) = find_gated_products(network.graph)
    equalized, changed = equalize_activations(network, IMAGES)
    assert changed == 4  # u, the product, its mean, and the product with the second gate
    (after,), (before,) = (run_network(n.model, IMAGES) for n in (equalized, network))
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    for tensor in (found.layer.outputs[0], found.product.outputs[0]):
        gain = equalized.ranges[tensor].high / network.ranges[tensor].high
        assert gain.max() > 1.4
        assert gain.min() == 1
    measured = collect_ranges(equalized.model, equalized.graph, IMAGES)
    product = found.product.outputs[0]
    assert np.allclose(measured[product].high, equalized.ranges[product].high, rtol=1e-4)


def test_factors_that_cost_more_than_they_bring_are_left_out() -> None:
    even = ChannelRange(low=np.full(4, -0.4), high=np.full(4, 5.0))
    assert weigh_factors([even]) is None
    low_heavy = ChannelRange(low=np.full(2, -9.0), high=np.array([10.0, 4.0]))
    assert weigh_factors([low_heavy]) is None
