from __future__ import annotations

from tiny_rewrites import Sketch, list_names, measure_difference

from edgevision.quantization.layers import find_layers, get_weights
from edgevision.quantization.rewrites.hard_swish import expand_hard_swish


def test_the_layer_before_takes_the_sixth() -> None:
    sketch = Sketch()
    swish = sketch.op("HARD_SWISH", [sketch.conv(sketch.image)])
    network = sketch.close(sketch.conv(swish))
    rewritten, changed = expand_hard_swish(network)
    assert changed == 1
    assert list_names(rewritten) == ["CONV_2D", "DEPTHWISE_CONV_2D", "MUL", "CONV_2D"]
    assert measure_difference(network, rewritten) < 1e-6
    before, after = (get_weights(n.graph, n.graph.ops[0]).data for n in (network, rewritten))
    assert before is not None
    assert after is not None
    assert abs(after / before - 1 / 6).max() < 1e-6


def test_layers_behind_take_it_through_a_squeeze_and_excite_block() -> None:
    sketch = Sketch()
    joined = sketch.op("ADD", [sketch.image, sketch.conv(sketch.image)], ("AddOptions", {}))
    swish = sketch.op("HARD_SWISH", [joined])
    weights = sketch.constant(sketch.rng.normal(0, 1, (4, 1, 1, 4)))
    fields = {"padding": 0, "strideH": 1, "strideW": 1, "fusedActivationFunction": 3}
    fields |= {"dilationHFactor": 1, "dilationWFactor": 1}
    inputs = [sketch.mean(swish), weights, sketch.constant([0.1] * 4)]
    gate = sketch.op("CONV_2D", inputs, ("Conv2DOptions", fields), (1, 1, 1, 4))
    product = sketch.op("MUL", [swish, gate], ("MulOptions", {}))
    network = sketch.close(sketch.conv(product))
    rewritten, changed = expand_hard_swish(network)
    assert changed == 1
    assert list_names(rewritten).count("DEPTHWISE_CONV_2D") == 1
    assert measure_difference(network, rewritten) < 1e-6


def test_where_nothing_else_can_take_it_a_layer_of_its_own_does() -> None:
    sketch = Sketch()
    swish = sketch.op("HARD_SWISH", [sketch.image])
    network = sketch.close(sketch.op("ADD", [swish, sketch.conv(swish)], ("AddOptions", {})))
    rewritten, _ = expand_hard_swish(network)
    assert list_names(rewritten).count("DEPTHWISE_CONV_2D") == 2
    assert measure_difference(network, rewritten) < 1e-6


def test_constants_that_layers_share_change_for_one_of_them_only() -> None:
    sketch = Sketch()
    bias = sketch.constant([0.5] * 4)
    swish = sketch.op("HARD_SWISH", [sketch.conv(sketch.image, bias=bias)])
    network = sketch.close(sketch.conv(swish, bias=bias))
    rewritten, _ = expand_hard_swish(network)
    assert measure_difference(network, rewritten) < 1e-6
    assert len(find_layers(rewritten.graph)) == 3


def test_other_networks_stay_as_they_are() -> None:
    sketch = Sketch()
    network = sketch.close(sketch.conv(sketch.image))
    assert expand_hard_swish(network) == (network, 0)
