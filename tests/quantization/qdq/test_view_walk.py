from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from edgevision.graph.onnx import read_onnx_model
from edgevision.quantization.layers import get_weights
from edgevision.quantization.qdq.codes import join_codes
from edgevision.quantization.qdq.runs import run_onnx
from edgevision.quantization.qdq.view import view_graph
from edgevision.quantization.qdq.view_walk import ViewWalk


def test_a_walk_gives_what_the_network_does(int8_onnx: Path) -> None:
    model = onnx.load(str(int8_onnx))
    images = np.random.default_rng(0).uniform(-1, 1, (6, 1, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, images, ["r0_QuantizeLinear_Output", "scores"])
    view = view_graph(join_codes(read_onnx_model(model)))
    walk = ViewWalk(model, view, images)

    walk.advance(1)
    first = walk.try_ops(1)
    (tensor,) = first
    assert np.array_equal(first[tensor][:, 0], expected[0][:, 0].transpose(0, 2, 3, 1))
    again = walk.try_ops(1, given=dict(walk.live))
    assert np.array_equal(again[tensor], first[tensor])
    weights = get_weights(walk.graph, walk.graph.ops[1])
    silent = walk.try_ops(1, {weights.index: np.zeros(weights.shape, np.int8)})[tensor]
    assert len(np.unique(silent[..., 0])) == 1
    walk.commit(first)
    assert set(walk.live) == {tensor}
    walk.advance(len(walk.graph.ops))
    assert np.array_equal(walk.live[walk.graph.outputs[0]], expected[1])
