from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_models import build_classifier, run_model

from edgevision.graph.model_parts import PartCutter
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.layers import find_layers
from edgevision.quantization.quantize import quantize
from edgevision.quantization.walk import Walk, measure_image_bytes


def test_layer_by_layer_equals_the_whole() -> None:
    model = build_classifier(size=8)
    image = np.random.default_rng(1).uniform(0, 1, (1, 8, 8, 3)).astype(np.float32)
    images = np.stack([image] * 20)
    walk = Walk(model, images, threads=2)
    for index in range(len(walk.graph.ops)):
        walk.advance(index)
        walk.commit(walk.try_layer())
    (output,) = walk.live.values()
    assert output.shape == (20, 1, 3)
    assert np.allclose(output, run_model(model)[0], atol=1e-6)


def test_other_constants_do_not_stick() -> None:
    model = build_classifier(size=8)
    images = np.ones((2, 1, 8, 8, 3), np.float32)
    walk = Walk(model, images, threads=1)
    op = walk.graph.ops[0]
    before = walk.try_layer()[op.outputs[0]]
    zeros = np.zeros(walk.graph.tensors[op.inputs[1]].shape, np.float32)
    changed = walk.try_layer({op.inputs[1]: zeros})[op.outputs[0]]
    assert not np.array_equal(before, changed)
    assert np.array_equal(before, walk.try_layer()[op.outputs[0]])


def test_parts_know_what_later_operations_need() -> None:
    model = build_classifier()
    graph = read_tflite(model)
    part = PartCutter(model).cut(1, 3)
    assert part.inputs == (graph.ops[1].inputs[0],)
    assert part.outputs == (graph.ops[2].outputs[0],)
    assert len(read_tflite(part.model).ops) == 2


def test_measure_image_bytes() -> None:
    graph = read_tflite(build_classifier(size=8))
    # The input (8 x 8 x 3) and the first layer's output (4 x 4 x 4), float32.
    assert measure_image_bytes(graph) == (8 * 8 * 3 + 4 * 4 * 4) * 4


def test_a_layer_is_tried_with_other_scales(float_file: Path, photos: Path, tmp_path: Path) -> None:
    quantize(float_file, tmp_path / "q.tflite", calibration=photos, steps=[])
    model = (tmp_path / "q.tflite").read_bytes()
    walk = Walk(model, np.full((2, 1, 12, 12, 3), 40, np.int8), threads=1)
    op = find_layers(walk.graph)[0]
    walk.advance(op.index)
    changed = {}
    for index in op.inputs[1:]:
        quantization = walk.graph.tensors[index].quantization
        assert quantization is not None
        changed[index] = np.array(quantization.scales, np.float32) / 2
    target = walk.graph.tensors[op.outputs[0]]
    assert target.quantization is not None
    zero = target.quantization.zero_points[0]
    (before,), (after,) = (walk.try_layer(scales=scales).values() for scales in (None, changed))
    inside = before < before.max()  # the upper end of ReLU6 hides what lies beyond
    halved = (before.astype(int) - zero) / 2
    assert np.abs(after.astype(int) - zero - halved)[inside].max() <= 1
