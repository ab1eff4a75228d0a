from __future__ import annotations

import numpy as np
import pytest
from tiny_models import build_classifier
from tiny_networks import NetworkSketch, draw_images, draw_weights

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.engine import list_16_bit_ops, run_engine
from edgevision.quantization.islands import Island
from edgevision.quantization.source import normalize_model
from edgevision.specs import Lift, Scheme

IMAGES = np.random.default_rng(1).uniform(-1, 1, (6, 1, 12, 12, 3)).astype(np.float32)


@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.INT8_PER_TENSOR])
def test_islands_have_16_bit_activations_and_8_bit_weights(scheme: Scheme) -> None:
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    ranges = collect_ranges(model, graph, IMAGES)
    bounds = {tensor: seen.bounds() for tensor, seen in ranges.items()}
    island = Island(ops=(0, 1), lift=Lift.INT16)
    quantized = run_engine(model, graph, scheme, bounds=bounds, island=island)
    mixed = read_tflite(quantized)
    names = [op.name for op in mixed.ops]
    assert names[:4] == ["QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "QUANTIZE"]
    read = [mixed.tensors[op.inputs[0]].dtype for op in mixed.ops]
    assert read == ["int8", "int16", "int16", "int16", "int8", "int8", "int8"]
    weights = [mixed.tensors[mixed.ops[index].inputs[1]] for index in (1, 2)]
    assert [tensor.dtype for tensor in weights] == ["int8", "int8"]
    assert all(t.quantization for t in weights)
    count = 4 if scheme is Scheme.INT8 else 1
    assert [len(t.quantization.scales) for t in weights if t.quantization] == [count, count]
    assert mixed.tensors[mixed.inputs[0]].dtype == "int8"
    expected, answers = (run_network(data, IMAGES)[0] for data in (model, quantized))
    assert np.abs(expected - answers).max() < 0.05


def test_ranges_of_16_bits_are_not_as_narrow_as_those_of_8_may_be() -> None:
    # Plain kernels refuse steps in which the 6 of ReLU6 has no place in 32 bits.
    model = build_classifier(num_classes=4, size=12, seed=3)
    graph = read_tflite(model)
    ranges = collect_ranges(model, graph, IMAGES)
    bounds = {tensor: seen.bounds() for tensor, seen in ranges.items()}
    bounds[graph.ops[0].outputs[0]] = (0.0, 1e-7)
    island = Island(ops=(0, 1), lift=Lift.INT16)
    quantized = run_engine(model, graph, Scheme.INT8, bounds=bounds, island=island)
    written = read_tflite(quantized).tensors[read_tflite(quantized).ops[1].outputs[0]]
    assert written.quantization is not None
    assert written.quantization.scales[0] * 32767 == pytest.approx(2e-4, rel=1e-3)
    assert np.isfinite(run_network(quantized, IMAGES)[0]).all()


def test_what_has_no_16_bit_kernel_is_told() -> None:
    sketch = NetworkSketch(size=4)
    first = sketch.conv(sketch.image, draw_weights(2, 1, 1, 3), name="first")
    middle = sketch.map("HARD_SWISH", first, name="swish")
    last = sketch.conv(middle, draw_weights(2, 1, 1, 2), name="last")
    graph = read_tflite(sketch.finish(last))
    assert list_16_bit_ops(graph, Scheme.INT8) == {0, 2}


@pytest.mark.parametrize(("lift", "dtype"), [(Lift.FLOAT, "float32"), (Lift.INT16, "int16")])
def test_operations_and_networks_with_several_outputs_are_lifted(lift: Lift, dtype: str) -> None:
    sketch = NetworkSketch(size=4)
    first = sketch.conv(sketch.image, draw_weights(4, 1, 1, 3), name="first")  # 0
    one, two = sketch.split(first, names=["one", "two"])  # 1
    left = sketch.conv(one, draw_weights(2, 1, 1, 2), name="left")  # 2
    right = sketch.conv(two, draw_weights(2, 1, 1, 2), name="right")  # 3
    model = normalize_model(sketch.finish(left, right))  # it has no signature
    graph = read_tflite(model)
    images = draw_images(6, 4)
    bounds = {t: s.bounds() for t, s in collect_ranges(model, graph, images).items()}

    def quantize(*ops: int) -> tuple[list[str], list[str]]:
        island = Island(ops=ops, lift=lift)
        quantized = run_engine(model, graph, Scheme.INT8, bounds=bounds, island=island)
        for expected, answer in zip(
            run_network(model, images), run_network(quantized, images), strict=True
        ):
            assert np.abs(expected - answer).max() < 0.05
        mixed = read_tflite(quantized)
        return (
            [mixed.tensors[mixed.ops[i].outputs[0]].dtype for i in range(len(mixed.ops))],
            [mixed.tensors[t].dtype for t in mixed.outputs],
        )

    written, outputs = quantize(0, 1, 2, 3)
    assert written == [dtype] * 5  # with the step behind the image
    assert outputs == [dtype, dtype]
    assert quantize(3)[1] == ["int8", dtype]
    assert quantize(0, 1)[1] == ["int8", "int8"]
