from __future__ import annotations

import numpy as np
from tiny_networks import RELU, NetworkSketch, draw_weights

from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.data_free.carry import carry_spreads, fit_lines, move_spread
from edgevision.quantization.data_free.propagate import propagate_spreads
from edgevision.quantization.data_free.spread import spread_normal
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.hard_swish import expand_hard_swish

PIXELS = spread_normal(np.zeros(3), np.full(3, 0.3))


def build() -> Network:
    sketch = NetworkSketch()
    x = sketch.conv(sketch.image, draw_weights(5, 3, 3, 3, seed=1), 0.2, name="first")
    x = sketch.map("HARD_SWISH", x, name="swish")
    x = sketch.conv(x, draw_weights(4, 1, 1, 5, seed=2), 0.1, name="second", relu=RELU)
    model = sketch.finish(x)
    return Network(model=model, graph=read_tflite(model))


def find(graph: Graph, name: str) -> int:
    return next(t.index for t in graph.tensors if t.name == name)


def test_rewritten_tensors_are_found_again() -> None:
    before = build()
    after, count = expand_hard_swish(before)
    assert count == 1
    spreads = propagate_spreads(before.graph, PIXELS)
    carried = carry_spreads(spreads, before, after)
    assert {after.graph.tensors[t].name for t in carried} == {"first", "swish", "second"}
    for name, factor in (("first", 1 / 6), ("swish", 1.0), ("second", 1.0)):
        old, new = spreads[find(before.graph, name)], carried[find(after.graph, name)]
        assert np.allclose(new.mean, old.mean * factor, atol=1e-3)
        assert np.allclose(new.std, old.std * factor, rtol=1e-2)
    told = propagate_spreads(after.graph, PIXELS, told=carried)
    gate = told[next(op.outputs[0] for op in after.graph.ops if op.name == "DEPTHWISE_CONV_2D")]
    assert np.all((gate.low >= 0) & (gate.high <= 6))


def test_what_is_no_line_is_left_out() -> None:
    values = np.linspace(-1, 1, 9)[:, None]
    assert fit_lines(values, values**2) is None


def test_ends_may_change_sides() -> None:
    moved = move_spread(spread_normal(np.ones(1), np.ones(1)), np.array([-2.0]), np.array([1.0]))
    assert (moved.mean[0], moved.std[0], moved.low[0], moved.high[0]) == (-1, 2, -13, 11)
