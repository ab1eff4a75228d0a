from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_onnx
from onnx import helper

import edgevision as ev
from edgevision.errors import InvalidModelError, MissingFileError, UnsupportedOpError
from edgevision.graph.onnx import read_onnx_model
from edgevision.quantization.layers import find_layers, get_weights
from edgevision.quantization.qdq.codes import join_codes
from edgevision.quantization.qdq.order import sort_ops
from edgevision.quantization.qdq.runs import run_onnx
from edgevision.quantization.qdq.view import view_graph
from edgevision.quantization.qdq.view_walk import ViewWalk


@pytest.fixture(scope="module")
def float_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_onnx.save(tiny_onnx.build_classifier(), tmp_path_factory.mktemp("onnx") / "f.onnx")


@pytest.fixture(scope="module")
def int8_onnx(float_onnx: Path, photos: Path) -> Path:
    return ev.quantize(float_onnx, float_onnx.with_name("int8.onnx"), calibration=photos).output


def test_operations_read_and_write_integers(int8_onnx: Path) -> None:
    graph = join_codes(read_onnx_model(onnx.load(str(int8_onnx))))
    assert [op.name for op in graph.ops] == [
        "QuantizeLinear",
        "Conv",
        "Conv",
        "GlobalAveragePool",
        "Reshape",
        "Gemm",
        "DequantizeLinear",
    ]
    view = view_graph(graph)
    for op in find_layers(view.graph):
        weights = get_weights(view.graph, op)
        read, written = (view.graph.tensors[t] for t in (op.inputs[0], op.outputs[0]))
        assert [t.dtype for t in (weights, read, written)] == ["int8", "uint8", "uint8"]
        assert weights.quantization is not None
        axis = weights.quantization.axis
        assert axis is not None
        assert weights.shape[axis] == len(weights.quantization.scales)
        assert written.quantization is not None


def test_a_walk_gives_what_the_network_does(int8_onnx: Path) -> None:
    model = onnx.load(str(int8_onnx))
    images = np.random.default_rng(0).uniform(-1, 1, (6, 1, 3, 8, 8)).astype(np.float32)
    expected = run_onnx(model, images, ["r0_QuantizeLinear_Output", "scores"])
    view = view_graph(join_codes(read_onnx_model(model)))
    walk = ViewWalk(model, view, images, 1)

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


def test_the_order_is_that_of_the_outputs_whatever_the_file_says() -> None:
    model = tiny_onnx.build_detector()
    graph = read_onnx_model(model)
    mixed = tiny_onnx.build_detector()
    # Both heads in another order, each still behind what it reads.
    nodes = list(mixed.graph.node)
    moved = sorted(nodes, key=lambda node: "scores" not in node.name)
    del mixed.graph.node[:]
    mixed.graph.node.extend(sort_nodes(moved))
    other = read_onnx_model(mixed)
    assert [op.label for op in graph.ops] != [op.label for op in other.ops]
    assert [op.label for op in sort_ops(graph).ops] == [op.label for op in sort_ops(other).ops]
    assert [op.index for op in sort_ops(other).ops] == list(range(len(graph.ops)))


def sort_nodes(nodes: list[Any]) -> list[Any]:
    made = {name for node in nodes for name in node.output}
    ordered, ready = list[Any](), set[str]()
    while nodes:
        node = next(n for n in nodes if all(i in ready or i not in made for i in n.input))
        nodes.remove(node)
        ordered.append(node)
        ready.update(node.output)
    return ordered


def test_a_file_of_ours(float_onnx: Path, int8_onnx: Path, photos: Path) -> None:
    diagnosis = ev.diagnose(float_onnx, int8_onnx, data=photos)
    assert diagnosis.unpaired == 0
    assert [layer.name for layer in diagnosis.layers] == ["r0", "c1", "p", "f", "scores"]
    first = diagnosis.layers[0].to_dict()
    assert first["local_sqnr_db"] > 25
    assert sum(first["noise_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert first["weights"]["bits"] == 8
    assert 1 < first["output"]["codes"] <= 256
    assert diagnosis.sqnr_db is not None
    assert diagnosis.sqnr_db > 15


def test_quantize_diagnoses_on_demand(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    result = ev.quantize(float_onnx, tmp_path / "o.onnx", calibration=photos, diagnose=True)
    assert result.diagnosis is not None
    assert result.diagnosis.unpaired == 0
    assert result.diagnosis.rescaled == 0
    assert result.to_dict()["diagnosis"]["verdict"] == result.diagnosis.verdict


def test_a_collapsed_layer_is_named(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    model = tiny_onnx.build_classifier()
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            values = tiny_onnx.numpy_helper.to_array(tensor).copy()
            values[0] *= 400  # with one scale for all, the others get hardly a step
            tensor.CopyFrom(tiny_onnx.numpy_helper.from_array(values, "w1"))
    source = tiny_onnx.save(model, tmp_path / "wide.onnx")
    options = {"calibration": photos, "scheme": "int8-per-tensor", "steps": []}
    result = ev.quantize(source, tmp_path / "o.onnx", diagnose=True, **options)
    assert result.diagnosis is not None
    assert "c1" in {finding.layer for finding in result.diagnosis.findings}


def test_what_is_refused(float_onnx: Path, int8_onnx: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="the second file is not quantized"):
        ev.diagnose(float_onnx, float_onnx, data=photos)
    with pytest.raises(InvalidModelError, match="quantized already"):
        ev.diagnose(int8_onnx, int8_onnx, data=photos)
    with pytest.raises(MissingFileError):
        ev.diagnose(float_onnx, tmp_path / "missing.onnx", data=photos)
    other = tiny_onnx.save(tiny_onnx.build_detector(), tmp_path / "other.onnx")
    with pytest.raises(InvalidModelError, match="different inputs"):
        ev.diagnose(other, int8_onnx, data=photos)
    joined = onnx.load(str(int8_onnx))
    joined.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    scale = ["p_scale", "p_zero_point"]
    names = ["p_QuantizeLinear_Output", *scale, *scale]
    node = helper.make_node("QLinearSigmoid", names, ["s"], "s", domain="com.microsoft")
    joined.graph.node.append(node)
    place = tiny_onnx.save(joined, tmp_path / "joined.onnx")
    with pytest.raises(UnsupportedOpError, match="QLinearSigmoid"):
        ev.diagnose(float_onnx, place, data=photos)
