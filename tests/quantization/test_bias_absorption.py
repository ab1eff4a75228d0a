from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_networks import NONE, RELU, RELU6, NetworkSketch, draw_images, draw_weights

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.bias_absorption import absorb_biases, find_shift
from edgevision.quantization.calibrate import ChannelRange, collect_ranges
from edgevision.quantization.data_free.pipeline import STEPS
from edgevision.quantization.engine import run_engine
from edgevision.quantization.layers import get_bias
from edgevision.quantization.network import Network
from edgevision.quantization.steps import APPLIES, Step
from edgevision.specs import Scheme

IMAGES = draw_images()
HIGH = np.array([9.0, 0.0, 5.0, 20.0])


def build(second: str, *, relu: int = RELU, bias: np.ndarray = HIGH, kernel: int = 1) -> Network:
    """Build a layer with high biases, one of some kind behind it, and a last one."""
    sketch = NetworkSketch()
    x = sketch.conv(sketch.image, draw_weights(4, 1, 1, 3), bias, name="first", relu=relu)
    if second == "depthwise":
        x = sketch.depthwise(x, draw_weights(1, kernel, kernel, 4), 0.1, name="second")
    else:
        x = sketch.conv(x, draw_weights(4, kernel, kernel, 4, seed=2), 0.1, name="second")
    x = sketch.conv(x, draw_weights(3, 3, 3, 4, seed=3), name="last", relu=RELU)
    model = sketch.finish(x)
    graph = read_tflite(model)
    return Network(model=model, graph=graph, ranges=collect_ranges(model, graph, IMAGES))


def answer(network: Network, images: np.ndarray = IMAGES) -> np.ndarray:
    (answers,) = run_network(network.model, images)
    return answers


def width(network: Network) -> float:
    low, high = network.ranges[network.graph.ops[0].outputs[0]].bounds()
    return max(high, 0) - min(low, 0)


@pytest.mark.parametrize("second", ["depthwise", "conv"])
@pytest.mark.parametrize("relu", [NONE, RELU])
def test_the_network_answers_the_same_with_a_narrower_range(second: str, relu: int) -> None:
    network = build(second, relu=relu)
    absorbed, changed = absorb_biases(network, IMAGES)
    assert changed >= 1
    assert np.abs(answer(absorbed) - answer(network)).max() < 1e-5
    assert width(absorbed) < 0.5 * width(network)
    measured = collect_ranges(absorbed.model, absorbed.graph, IMAGES)
    for tensor, seen in measured.items():
        assert np.allclose(seen.low, absorbed.ranges[tensor].low, atol=1e-5)
        assert np.allclose(seen.high, absorbed.ranges[tensor].high, atol=1e-5)


def test_dense_layers_absorb_too() -> None:
    sketch = NetworkSketch()
    x = sketch.mean(sketch.image, name="mean")
    x = sketch.dense(x, draw_weights(4, 3), HIGH, name="first")
    model = sketch.finish(sketch.dense(x, draw_weights(2, 4, seed=2), name="second"))
    graph = read_tflite(model)
    network = Network(model=model, graph=graph, ranges=collect_ranges(model, graph, IMAGES))
    absorbed, changed = absorb_biases(network, IMAGES)
    assert changed == 1
    assert np.abs(answer(absorbed) - answer(network)).max() < 1e-5
    tensor = graph.ops[1].outputs[0]
    assert absorbed.ranges[tensor].bounds()[1] < 0.2 * network.ranges[tensor].bounds()[1]


def test_without_an_activation_every_image_gets_the_same_answer() -> None:
    network = build("conv", relu=NONE)
    absorbed, _ = absorb_biases(network, IMAGES)
    others = 9 * draw_images(seed=7)
    assert np.abs(answer(absorbed, others) - answer(network, others)).max() < 1e-4


def test_behind_relu_a_margin_is_left() -> None:
    network = build("conv")
    absorbed, _ = absorb_biases(network, IMAGES)
    first = network.graph.ops[0]
    seen = network.ranges[first.outputs[0]]
    biases = [get_bias(n.graph, n.graph.ops[0]) for n in (network, absorbed)]
    before, after = (b.data for b in biases if b is not None and b.data is not None)
    shift = before - after
    assert np.all(shift <= np.maximum(seen.low - 0.09 * (seen.high - seen.low), 0))
    assert shift[1] == 0  # it reaches zero
    assert shift[3] > 10


@pytest.mark.parametrize(
    "options",
    [
        {"second": "conv", "kernel": 3},  # zeros at the border stand for another value
        {"second": "depthwise", "kernel": 3},
        {"second": "conv", "relu": RELU6},  # at its ceiling
        {"second": "conv", "bias": np.zeros(4)},
        {"second": "conv", "bias": np.array([0.0, 0.0, 0.5, 0.0])},  # others set the range
    ],
)
def test_where_it_can_not_be_or_brings_nothing_the_network_is_left_alone(
    options: dict[str, Any],
) -> None:
    network = build(**options)
    tensor = network.graph.ops[0].outputs[0]
    absorbed, _ = absorb_biases(network, IMAGES)
    biases = [get_bias(n.graph, n.graph.ops[0]) for n in (network, absorbed)]
    before, after = (b.data for b in biases if b is not None)
    assert np.array_equal(before, after)
    assert absorbed.ranges[tensor] is network.ranges[tensor]


def test_relu6_moves_below_its_ceiling() -> None:
    seen = ChannelRange(low=np.array([0.0, 3.0]), high=np.array([1.0, 4.0]))
    assert find_shift(seen, "relu6").tolist() == pytest.approx([0.0, 2.9])
    touched = ChannelRange(low=np.array([0.0, 4.5]), high=np.array([1.0, 5.9]))
    assert find_shift(touched, "relu6").tolist() == [0.0, 0.0]
    network = build("conv", relu=RELU6, bias=np.array([3.5, 0.0, 0.0, 0.0]))
    changed, _ = absorb_biases(network, IMAGES)
    assert np.abs(answer(changed) - answer(network)).max() < 1e-5


def test_a_channel_that_never_changes_moves_as_a_whole() -> None:
    seen = ChannelRange(low=np.array([0.0, 7.0]), high=np.array([1.0, 7.0]))
    assert find_shift(seen, "relu").tolist() == [0.0, 6.0]  # the others need no more


@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.INT8_PER_TENSOR])
def test_rounding_costs_less(scheme: Scheme) -> None:
    weights = draw_weights(4, 1, 1, 4, seed=2)
    sketch = NetworkSketch()
    x = sketch.conv(sketch.image, draw_weights(4, 1, 1, 3), HIGH, name="first", relu=RELU)
    x = sketch.conv(x, weights, -weights.reshape(4, 4) @ HIGH, name="second")
    model = sketch.finish(x)
    graph = read_tflite(model)
    network = Network(model=model, graph=graph, ranges=collect_ranges(model, graph, IMAGES))
    errors = []
    for candidate in (network, absorb_biases(network, IMAGES)[0]):
        bounds = {t: seen.bounds() for t, seen in candidate.ranges.items()}
        quantized = run_engine(candidate.model, candidate.graph, scheme, bounds=bounds)
        errors.append(float(np.square(run_network(quantized, IMAGES)[0] - answer(network)).mean()))
    assert errors[1] < 0.1 * errors[0]


def test_it_is_for_8_bits_with_and_without_images() -> None:
    assert APPLIES[Step.BIAS_ABSORPTION] >= {Scheme.INT8, Scheme.INT8_PER_TENSOR}
    assert Step.BIAS_ABSORPTION in STEPS
