from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tiny_graphs import GraphSketch

from edgevision.benchmarks.placement.edgetpu import explain_edgetpu
from edgevision.benchmarks.placement.explain import explain
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.graph.reader import read_graph

BYTES = {"dtype": "int8"}


def sketch_float_ends() -> Graph:
    """Float in, QUANTIZE, RELU, DEQUANTIZE, float out."""
    sketch = GraphSketch()
    first = sketch.tensor(1, 4)
    inner = [sketch.tensor(1, 4, **BYTES) for _ in range(2)]
    last = sketch.tensor(1, 4)
    sketch.op(OpKind.QUANTIZE, [first], [inner[0]])
    sketch.op(OpKind.ACTIVATION, [inner[0]], [inner[1]], name="RELU")
    sketch.op(OpKind.DEQUANTIZE, [inner[1]], [last])
    return sketch.graph([first], [last])


def test_float_ends_stay_on_the_cpu() -> None:
    document = explain_edgetpu("m.tflite", sketch_float_ends()).to_dict()
    assert [op["placement"] for op in document["ops"]] == ["cpu", "edgetpu", "cpu"]
    assert [op["confidence"] for op in document["ops"]] == ["unlikely", "likely", "unlikely"]
    assert [bool(op["reason"]) for op in document["ops"]] == [True, False, True]
    assert (document["partitions"], document["ops_delegated"]) == (1, 1)
    assert "prediction" in document["notes"][0]


def test_a_float_file_is_told_to_be_quantized(tiny_tflite: Path) -> None:
    result = explain(tiny_tflite, device="edgetpu")
    assert {op.placement for op in result.ops} == {"cpu"}
    assert result.partitions == 0
    assert ["--scheme edgetpu" in note for note in result.notes] == [True]


def test_a_compiled_file_is_fact() -> None:
    sketch = GraphSketch()
    tensors = [sketch.tensor(1, 4, **BYTES) for _ in range(3)]
    nothing = {"custom_options": b""}
    sketch.op(OpKind.CUSTOM, tensors[:1], tensors[1:2], name=COMPILED_OP, attributes=nothing)
    sketch.op(OpKind.ARG_MAX, tensors[1:2], tensors[2:], name="ARG_MAX")
    result = explain_edgetpu("m_edgetpu.tflite", sketch.graph(tensors[:1], tensors[2:]))
    assert [(op.placement, op.confidence) for op in result.ops] == [("edgetpu", ""), ("cpu", "")]
    assert result.partitions == 1
    assert "fact" in result.notes[0]
    # What its options hold is not readable here, and said to be unknown.
    assert "unknown" in result.notes[1]
    assert result.to_dict()["packages"] == []


def test_predictions_agree_with_compiled_files(real_data: Path) -> None:
    compiled = sorted((real_data / "edgetpu_pairs").glob("*_edgetpu.tflite"))
    if not compiled:
        pytest.skip("the data folder has no compiled files")
    for path in compiled:
        source = path.with_name(path.name.replace("_edgetpu", ""))
        left = Counter(op.name for op in read_graph(path).ops if op.name != COMPILED_OP)
        predicted = explain(source, device="edgetpu").ops
        assert Counter(op.op for op in predicted if op.placement == "cpu") == left, source.name


def test_compiled_files_tell_what_is_cached_and_streamed(real_data: Path) -> None:
    folder = real_data / "edgetpu_pairs"
    if not folder.exists():
        pytest.skip("the data folder has no compiled files")
    compiled = folder / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    package = explain(compiled, device="edgetpu").packages[0]
    # All weights of a network of 0.47 M parameters fit on the chip.
    assert 470_000 < package.cached_bytes < 600_000
    assert package.streamed_bytes == 0
    assert package.instruction_bytes > 0
    lstm = folder / "keras_lstm_mnist_ptq_edgetpu.tflite"
    assert "576 B" in explain(lstm, device="edgetpu").notes[1]
