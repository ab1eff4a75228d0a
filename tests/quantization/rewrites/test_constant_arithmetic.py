from __future__ import annotations

import numpy as np
import pytest
from tiny_rewrites import Sketch, list_names, measure_difference

from edgevision.quantization.rewrites.constant_arithmetic import fold_constants, read_arithmetic

OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "DIV"])
@pytest.mark.parametrize("values", [np.array([[[2.0, -0.5, 3.0, 0.25]]]), np.array(2.5)])
def test_the_layer_before_takes_constants(name: str, values: np.ndarray) -> None:
    sketch = Sketch()
    layer = sketch.conv(sketch.image)
    scaled = sketch.op(name, [layer, sketch.constant(values)], (OPTIONS[name], {}))
    network = sketch.close(sketch.op("RELU", [scaled]))
    rewritten, changed = fold_constants(network)
    assert changed == 1
    assert list_names(rewritten) == ["CONV_2D", "RELU"]
    assert measure_difference(network, rewritten) < 1e-6


def test_a_chain_is_folded_one_after_the_other() -> None:
    sketch = Sketch()
    layer = sketch.conv(sketch.image)
    shifted = sketch.op("ADD", [sketch.constant([1.5]), layer], ("AddOptions", {}))
    scaled = sketch.op("MUL", [shifted, sketch.constant([0.3])], ("MulOptions", {}))
    network = sketch.close(sketch.op("RELU", [scaled]))
    rewritten, changed = fold_constants(network)
    assert changed == 2
    assert list_names(rewritten) == ["CONV_2D", "RELU"]
    assert measure_difference(network, rewritten) < 1e-6


def test_a_factor_behind_relu_goes_into_the_layers_behind() -> None:
    sketch = Sketch()
    gate = sketch.conv(sketch.image, activation=3)
    scaled = sketch.op("MUL", [gate, sketch.constant(1 / 6)], ("MulOptions", {}))
    product = sketch.op("MUL", [sketch.image, scaled], ("MulOptions", {}))
    network = sketch.close(sketch.conv(product))
    rewritten, changed = fold_constants(network)
    assert changed == 1
    assert list_names(rewritten) == ["CONV_2D", "MUL", "CONV_2D"]
    assert measure_difference(network, rewritten) < 1e-6


def test_what_no_layer_can_take_stays() -> None:
    sketch = Sketch()
    gate = sketch.conv(sketch.image, activation=3)
    scaled = sketch.op("MUL", [gate, sketch.constant(1 / 6)], ("MulOptions", {}))
    twice = sketch.op("MUL", [scaled, scaled], ("MulOptions", {}))  # would take the factor twice
    shifted = sketch.op("ADD", [gate, sketch.constant([1.0])], ("AddOptions", {}))
    network = sketch.close(sketch.conv(twice), sketch.conv(shifted))
    assert fold_constants(network) == (network, 0)


def test_only_constants_per_channel_are_read() -> None:
    sketch = Sketch()
    rows = sketch.constant(np.ones((8, 1)))  # one value per column of the map
    network = sketch.close(sketch.op("MUL", [sketch.image, rows], ("MulOptions", {})))
    assert read_arithmetic(network.graph, network.graph.ops[0]) is None
