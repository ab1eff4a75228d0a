from __future__ import annotations

from pathlib import Path

import pytest
from tiny_graphs import GraphSketch

from edgevision.errors import InvalidModelError
from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.reader import read_graph
from edgevision.models.registry import build_graph
from edgevision.specs import ModelFormat


def test_convolution_uses_each_weight_at_each_position() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 8, 8, 3), sketch.tensor(1, 4, 4, 16)
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(16, 3, 3, 3)], [y])
    assert count_macs(sketch.graph([x], [y])).total == 4 * 4 * 3 * 3 * 3 * 16


def test_grouped_convolution_costs_a_part() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 8, 8, 12), sketch.tensor(1, 8, 8, 16)
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(16, 3, 3, 12 // 4)], [y])
    assert count_macs(sketch.graph([x], [y])).total == 8 * 8 * 3 * 3 * (12 // 4) * 16


def test_depthwise_convolution_with_multiplier() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 8, 8, 6), sketch.tensor(1, 8, 8, 12)
    sketch.op(OpKind.DEPTHWISE_CONV_2D, [x, sketch.weight(1, 5, 5, 12)], [y])
    assert count_macs(sketch.graph([x], [y])).total == 8 * 8 * 5 * 5 * 6 * 2


def test_channels_first() -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    x, y = sketch.tensor(1, 3, 8, 8), sketch.tensor(1, 16, 4, 5)
    attributes = {"channel_axis": 1}
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(16, 3, 3, 3)], [y], "Conv", attributes)
    assert count_macs(sketch.graph([x], [y])).total == 4 * 5 * 3 * 3 * 3 * 16


def test_transposed_convolution_counts_input_positions() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 5, 6, 8), sketch.tensor(1, 10, 12, 4)
    shape, kernel = sketch.weight(4, dtype="int32"), sketch.weight(4, 3, 3, 8)
    sketch.op(OpKind.TRANSPOSE_CONV_2D, [shape, kernel, x], [y], "TRANSPOSE_CONV")
    assert count_macs(sketch.graph([x], [y])).total == 5 * 6 * 3 * 3 * 8 * 4


def test_fully_connected_counts_rows() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 7, 20), sketch.tensor(1, 7, 30)
    sketch.op(OpKind.FULLY_CONNECTED, [x, sketch.weight(30, 20)], [y])
    assert count_macs(sketch.graph([x], [y])).total == 7 * 20 * 30


@pytest.mark.parametrize(("transpose", "shape"), [(False, (2, 5, 7)), (True, (2, 7, 5))])
def test_batch_matmul(transpose: bool, shape: tuple[int, ...]) -> None:
    sketch = GraphSketch()
    a, b, y = sketch.tensor(*shape), sketch.tensor(2, 7, 9), sketch.tensor(2, 5, 9)
    attributes = {"transpose_a": transpose}
    sketch.op(OpKind.MATMUL, [a, b], [y], "BATCH_MATMUL", attributes)
    assert count_macs(sketch.graph([a, b], [y])).total == 2 * 5 * 9 * 7


@pytest.mark.parametrize(
    ("equation", "left", "right", "result", "macs"),
    [
        ("abc,cd->abd", (2, 3, 4), (4, 5), (2, 3, 5), 2 * 3 * 4 * 5),
        ("...x,xy->...y", (2, 3, 4), (4, 5), (2, 3, 5), 2 * 3 * 4 * 5),
        ("bqhd,bkhd->bhqk", (1, 6, 2, 8), (1, 7, 2, 8), (1, 2, 6, 7), 2 * 6 * 7 * 8),
    ],
)
def test_einsum(
    equation: str,
    left: tuple[int, ...],
    right: tuple[int, ...],
    result: tuple[int, ...],
    macs: int,
) -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    a, b, y = sketch.tensor(*left), sketch.tensor(*right), sketch.tensor(*result)
    sketch.op(OpKind.MATMUL, [a, b], [y], "Einsum", {"equation": equation})
    assert count_macs(sketch.graph([a, b], [y])).total == macs


def test_odd_einsum_is_listed_and_not_counted() -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    a, y = sketch.tensor(3, 3), sketch.tensor(3)
    sketch.op(OpKind.MATMUL, [a, a, a], [y], "Einsum", {"equation": "ab,bc,ca->a"})
    count = count_macs(sketch.graph([a], [y]))
    assert (count.total, count.uncounted) == (0, {"Einsum": 1})


def test_dilated_convolution_in_block_space_counts_as_the_original() -> None:
    sketch = GraphSketch()
    x = sketch.tensor(1, 33, 33, 8)
    blocks, y = sketch.tensor(4, 19, 19, 8), sketch.tensor(4, 17, 17, 8)
    biased, back = sketch.tensor(4, 17, 17, 8), sketch.tensor(1, 33, 33, 8)
    sketch.op(OpKind.OTHER, [x], [blocks], "SPACE_TO_BATCH_ND")
    sketch.op(OpKind.DEPTHWISE_CONV_2D, [blocks, sketch.weight(1, 3, 3, 8)], [y])
    sketch.op(OpKind.ADD, [y, sketch.weight(8)], [biased])
    sketch.op(OpKind.OTHER, [biased], [back], "BATCH_TO_SPACE_ND")
    assert count_macs(sketch.graph([x], [back])).total == 33 * 33 * 3 * 3 * 8


def test_dynamic_batch_counts_as_one() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(-1, 8, 8, 3), sketch.tensor(-1, 8, 8, 2)
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(2, 1, 1, 3)], [y])
    assert count_macs(sketch.graph([x], [y])).total == 8 * 8 * 3 * 2


def test_what_is_not_counted_is_listed() -> None:
    sketch = GraphSketch()
    x, y, z = sketch.tensor(1, 4), sketch.tensor(1, 4), sketch.tensor(1, 4)
    sketch.op(OpKind.SOFTMAX, [x], [y])
    sketch.op(OpKind.LSTM, [y], [z], "UNIDIRECTIONAL_SEQUENCE_LSTM")
    count = count_macs(sketch.graph([x], [z]))
    assert count.total == 0
    assert count.uncounted == {"SOFTMAX": 1, "UNIDIRECTIONAL_SEQUENCE_LSTM": 1}


def test_totals_are_python_integers_beyond_int32() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 2048, 2048, 512), sketch.tensor(1, 2048, 2048, 512)
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(512, 3, 3, 512)], [y])
    total = count_macs(sketch.graph([x], [y])).total
    assert type(total) is int
    assert total == 2048 * 2048 * 3 * 3 * 512 * 512


def test_unknown_shapes_are_an_error() -> None:
    sketch = GraphSketch(ModelFormat.ONNX)
    x, y = sketch.tensor(1, 3, 8, 8), sketch.tensor()
    sketch.op(OpKind.CONV_2D, [x, sketch.weight(16, 3, 3, 3)], [y], "Conv")
    with pytest.raises(InvalidModelError, match="op 0 Conv"):
        count_macs(sketch.graph([x], [y]))


def test_missing_weights_are_an_error() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 8, 8, 3), sketch.tensor(1, 8, 8, 3)
    sketch.op(OpKind.CONV_2D, [x, -1], [y])
    with pytest.raises(InvalidModelError, match="lacks its operands"):
        count_macs(sketch.graph([x], [y]))


def test_published_count_of_a_zoo_network() -> None:
    assert count_macs(build_graph("mobilenet_v1", alpha=0.25, input_size=128)).total == 13_570_048


def test_real_files(real_data: Path) -> None:
    totals = {
        name: count_macs(read_graph(real_data / "models" / name)).total
        for name in ("vww_96_float.tflite", "mobilenet_v1_0.25_224_1_metadata_1.tflite")
    }
    # The second has a "background" class more than the 41,030,272 of the table.
    assert totals == {
        "vww_96_float.tflite": 7_489_664,
        "mobilenet_v1_0.25_224_1_metadata_1.tflite": 41_030_272 + 256,
    }
