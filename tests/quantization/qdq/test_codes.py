from __future__ import annotations

from pathlib import Path

import onnx

from edgevision.graph.onnx import read_onnx_model
from edgevision.quantization.layers import find_layers, get_weights
from edgevision.quantization.qdq.codes import join_codes
from edgevision.quantization.qdq.view import view_graph


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


def test_a_scale_between_two_readers_stays(int8_onnx: Path) -> None:
    model = onnx.load(str(int8_onnx))
    node = onnx.helper.make_node("Identity", ["r0"], ["copy"], "copy")
    model.graph.node.append(node)
    value = onnx.helper.make_tensor_value_info("copy", onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    graph = join_codes(read_onnx_model(model))
    names = [op.name for op in graph.ops]
    assert names.count("QuantizeLinear") == 2  # of the image, and behind what is read as float too
    (stem,) = [op for op in graph.ops if op.label == "stem"]
    assert graph.tensors[stem.outputs[0]].dtype == "float32"
