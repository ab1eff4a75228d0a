from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tiny_graphs import GraphSketch

from edgevision.benchmarks.placement.edgetpu import COMPILED_OP, LEFT_BY_COMPILER, place_ops
from edgevision.benchmarks.placement.explain import explain
from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.graph.reader import read_graph


def chain(*names: str, dtype: str = "int8", kind: OpKind = OpKind.CUSTOM) -> Graph:
    """Operations of these names, each behind the other."""
    sketch = GraphSketch()
    first = last = sketch.tensor(1, 4, dtype=dtype)
    for name in names:
        output = sketch.tensor(1, 4, dtype=dtype)
        sketch.op(kind, [last], [output], name)
        last = output
    return sketch.graph([first], [last])


def test_what_stands_behind_a_refused_operation_stays() -> None:
    placed = place_ops(chain("RELU", "CUSTOM:Odd", "RELU"))
    assert not placed.compiled
    assert [bool(reason) for reason in placed.reasons] == [False, True, True]
    assert placed.partitions == 1
    assert "predicted" in placed.notes[0]


def test_a_float_file_is_told_to_be_quantized() -> None:
    placed = place_ops(chain("RELU", "TANH", dtype="float32"))
    assert all(placed.reasons)
    assert placed.partitions == 0
    assert "--scheme edgetpu" in placed.notes[0]


def test_a_compiled_file_is_read_and_not_predicted() -> None:
    placed = place_ops(chain(COMPILED_OP, "RELU", "CUSTOM:Odd"))
    assert placed.compiled
    assert placed.partitions == 1
    taken, allowed, odd = placed.reasons
    assert (taken, allowed) == ("", LEFT_BY_COMPILER)
    assert odd.startswith(f"{LEFT_BY_COMPILER}: ")


def test_prediction_agrees_with_the_compiler(real_data: Path) -> None:
    for compiled in sorted((real_data / "edgetpu_pairs").glob("*_edgetpu.tflite")):
        source = compiled.with_name(compiled.name.replace("_edgetpu", ""))
        left = [op.op for op in explain(compiled, device="edgetpu").ops if op.reason]
        predicted = [op.op for op in explain(source, device="edgetpu").ops if op.reason]
        assert Counter(predicted) == Counter(left), source.name


def test_compiled_file_tells_the_size_of_its_program(real_data: Path) -> None:
    path = real_data / "edgetpu_pairs/mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    document = explain(path, device="edgetpu").to_dict()
    assert (document["ops_total"], document["ops_delegated"]) == (1, 1)
    (op,) = read_graph(path).ops
    assert f"{len(op.attributes['custom_options']):,} bytes" in document["notes"][0]


@pytest.mark.parametrize("device", ["edgetpu"])
def test_json_keys(tiny_tflite: Path, device: str) -> None:
    for op in explain(tiny_tflite, device=device).to_dict()["ops"]:
        assert set(op) >= {"index", "op", "name", "placement", "reason", "likelihood"}
