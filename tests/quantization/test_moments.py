from __future__ import annotations

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.layers import find_layers, get_bias, get_weights
from edgevision.quantization.moments import (
    Activation,
    gather_patches,
    group_weights,
    ungroup_weights,
)
from edgevision.quantization.walk import Walk
from edgevision.specs import Quantization


@pytest.mark.parametrize("size", [8, 9])
def test_patches_times_weights_are_the_layers_outputs(size: int) -> None:
    model = build_classifier(size=size, seed=2)
    images = np.random.default_rng(1).uniform(-1, 1, (3, 1, size, size, 3)).astype(np.float32)
    walk = Walk(model, images, threads=1)
    for op in find_layers(walk.graph):
        walk.advance(op.index)
        values = walk.live[op.inputs[0]]
        outputs = walk.try_layer()[op.outputs[0]]
        weights, bias = get_weights(walk.graph, op), get_bias(walk.graph, op)
        assert weights.data is not None
        assert bias is not None
        assert bias.data is not None
        flat = values.reshape(-1, *values.shape[2:])
        shape = outputs.reshape(-1, *outputs.shape[2:]).shape
        # Few places, so that every one is taken, in order.
        patches = gather_patches(
            op, weights.shape, Activation(values=flat), output_shape=shape, seed=0
        )
        grouped = group_weights(op, weights.data)
        assert np.array_equal(ungroup_weights(op, grouped, weights.shape), weights.data)
        made = np.einsum("gok,grk->rgo", grouped, patches).reshape(-1, shape[-1]) + bias.data
        if op.attributes.get("activation") == "relu6":
            made = np.clip(made, 0, 6)
        assert np.allclose(made, outputs.reshape(-1, shape[-1]), atol=1e-5)


def test_quantized_padding_is_zero() -> None:
    graph = read_tflite(build_classifier(size=8))
    op = graph.ops[0]
    stored = np.full((1, 8, 8, 3), -7, np.int8)
    inputs = Activation(values=stored, quantization=Quantization(scales=(0.5,), zero_points=(-7,)))
    patches = gather_patches(op, (4, 3, 3, 3), inputs, output_shape=(1, 4, 4, 4), seed=0)
    assert not patches.any()
