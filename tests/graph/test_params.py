from __future__ import annotations

from pathlib import Path

from tiny_graphs import GraphSketch
from tiny_models import build_classifier

from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params, find_unpacking
from edgevision.graph.reader import read_graph
from edgevision.graph.tflite import read_tflite
from edgevision.models.registry import build_graph
from edgevision.specs import ModelFormat, Quantization


def test_network_counts_statistics_and_tells_what_is_trainable() -> None:
    graph = build_graph("mobilenet_v1", alpha=0.25, input_size=128)
    count = count_params(graph)
    assert (count.total, count.trainable) == (475_544, 470_072)
    assert sum(count.per_op.values()) == count.total


def test_kernels_and_biases_of_a_file() -> None:
    sketch = GraphSketch()
    x, y, z = sketch.tensor(1, 8, 8, 3), sketch.tensor(1, 8, 8, 4), sketch.tensor(1, 256)
    conv = [x, sketch.weight(4, 3, 3, 3, dtype="int8"), sketch.weight(4, dtype="int32")]
    sketch.op(OpKind.CONV_2D, conv, [y])
    sketch.op(OpKind.RESHAPE, [y, sketch.weight(2, dtype="int32")], [z])
    count = count_params(sketch.graph([x], [z]))
    assert count.total == 4 * 3 * 3 * 3 + 4
    assert count.trainable is None
    assert count.per_op == {0: 4 * 3 * 3 * 3 + 4}


def test_transposed_convolution_of_a_file_has_its_bias_last() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 4, 4, 8), sketch.tensor(1, 8, 8, 2)
    shape = sketch.weight(4, dtype="int32")
    inputs = [shape, sketch.weight(2, 3, 3, 8), x, sketch.weight(2)]
    sketch.op(OpKind.TRANSPOSE_CONV_2D, inputs, [y], "TRANSPOSE_CONV")
    assert count_params(sketch.graph([x], [y])).total == 2 * 3 * 3 * 8 + 2


def test_weights_are_found_behind_dequantize() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 6), sketch.tensor(1, 5)
    half, full = sketch.weight(5, 6, dtype="float16"), sketch.tensor(5, 6)
    sketch.op(OpKind.DEQUANTIZE, [half], [full])
    sketch.op(OpKind.FULLY_CONNECTED, [x, full, -1], [y])
    assert count_params(sketch.graph([x], [y])).total == 5 * 6


def test_a_shared_weight_counts_once() -> None:
    sketch = GraphSketch()
    x, y, z = (sketch.tensor(1, 6) for _ in range(3))
    shared = sketch.weight(6, 6)
    sketch.op(OpKind.FULLY_CONNECTED, [x, shared], [y])
    sketch.op(OpKind.FULLY_CONNECTED, [y, shared], [z])
    count = count_params(sketch.graph([x], [z]))
    assert (count.total, count.per_op) == (36, {0: 36})


def test_vectors_in_arithmetic_are_weights_and_lone_factors_are_not() -> None:
    sketch = GraphSketch()
    x, y, z = (sketch.tensor(1, 6) for _ in range(3))
    sketch.op(OpKind.MUL, [x, sketch.weight(6)], [y])
    sketch.op(OpKind.ADD, [y, sketch.weight(1)], [z])
    assert count_params(sketch.graph([x], [z])).total == 6


def test_slopes_are_weights_and_bounds_are_not() -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    x, y, z = (sketch.tensor(1, 6) for _ in range(3))
    sketch.op(OpKind.ACTIVATION, [x, sketch.weight(6)], [y], "PRelu")
    sketch.op(OpKind.ACTIVATION, [y, sketch.weight(), sketch.weight()], [z], "Clip")
    assert count_params(sketch.graph([x], [z])).total == 6


def test_embedding_tables_are_weights_and_index_lists_are_not() -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    ids, rows, picked = sketch.tensor(1, 4), sketch.tensor(1, 4, 8), sketch.tensor(1, 4)
    sketch.op(OpKind.GATHER, [sketch.weight(100, 8), ids], [rows])
    sketch.op(OpKind.GATHER, [sketch.weight(50, dtype="int64"), ids], [picked])
    assert count_params(sketch.graph([ids], [rows, picked])).total == 100 * 8


def test_quantized_onnx_operands() -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    x, y = sketch.tensor(1, 3, 8, 8, dtype="uint8"), sketch.tensor(1, 4, 8, 8, dtype="uint8")
    scale, zero = sketch.weight(4), sketch.weight(4, dtype="uint8")
    kernel, bias = sketch.weight(4, 3, 3, 3, dtype="int8"), sketch.weight(4, dtype="int32")
    inputs = [x, scale, zero, kernel, scale, zero, scale, zero, bias]
    sketch.op(OpKind.CONV_2D, inputs, [y], "QLinearConv", {"channel_axis": 1})
    assert count_params(sketch.graph([x], [y])).total == 4 * 3 * 3 * 3 + 4


def test_real_file_after_folding(real_data: Path) -> None:
    graph = read_graph(real_data / "models" / "vww_96_float.tflite")
    assert count_params(graph).total == 210_850


def test_unpacking_of_half_weights_is_told_from_other_dequantization() -> None:
    quantization = Quantization(scales=(1 / 255,), zero_points=(0,))
    graph = read_tflite(build_classifier(half=True, input_quantization=quantization))
    unpacking = find_unpacking(graph)
    others = [op.index for op in graph.ops if op.name == "DEQUANTIZE" and op.index not in unpacking]
    assert others == [0]
    assert len(unpacking) == 3 * 2  # kernel and bias of three layers
