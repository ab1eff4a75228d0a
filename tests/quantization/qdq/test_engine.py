from __future__ import annotations

import onnx
import pytest
import tiny_onnx
from onnx import helper

from edgevision.errors import UnsupportedOpError
from edgevision.quantization.qdq.engine import normalize_onnx, run_onnx_engine
from edgevision.specs import Scheme

BOUNDS = {
    **{"image": (-1.0, 1.0), "r0": (0.0, 6.0), "c1": (-9.0, 9.0)},
    **{"p": (-3.0, 3.0), "f": (-3.0, 3.0), "scores": (-5.0, 5.0)},
}


def test_a_model_is_brought_into_form() -> None:
    model = tiny_onnx.build_classifier(batch="N")
    for node in model.graph.node:
        node.name = "same" if node.op_type == "Conv" else ""
    # ONNX Runtime itself takes no names twice.
    model.graph.node[0].name = ""
    normal = normalize_onnx(model, shown="tiny")
    assert normal.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    names = [node.name for node in normal.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    convolutions = [node for node in normal.graph.node if node.op_type == "Conv"]
    assert all(len(node.input) == 3 for node in convolutions)


def test_a_model_that_does_not_run_is_refused() -> None:
    model = tiny_onnx.build_classifier()
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(UnsupportedOpError, match=r"can not run the model \(tiny\.onnx"):
        normalize_onnx(model, shown="tiny.onnx")


def test_weights_are_int8_and_activations_uint8() -> None:
    model = normalize_onnx(tiny_onnx.build_classifier(), shown="tiny")
    quantized = run_onnx_engine(model, Scheme.INT8, BOUNDS)
    onnx.checker.check_model(quantized, full_check=True)
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    kinds = {
        constants[node.input[2]].data_type
        for node in quantized.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert kinds == {onnx.TensorProto.UINT8}
    stored = {constants[f"w{i}_quantized"].data_type for i in range(3)}
    assert stored == {onnx.TensorProto.INT8}
    assert "Clip" not in [node.op_type for node in quantized.graph.node]


def test_lifted_nodes_stay_in_float() -> None:
    model = normalize_onnx(tiny_onnx.build_classifier(), shown="tiny")
    quantized = run_onnx_engine(model, Scheme.INT8, BOUNDS, lifted=["head"])
    (head,) = [node for node in quantized.graph.node if node.name == "head"]
    assert head.input[1] == "w2"


def test_a_range_that_is_missing_is_told() -> None:
    model = normalize_onnx(tiny_onnx.build_classifier(), shown="tiny")
    with pytest.raises(UnsupportedOpError, match="can not quantize this model"):
        run_onnx_engine(model, Scheme.INT8, {"image": (-1.0, 1.0)})


def test_what_an_activation_kept_apart_reads_has_a_range() -> None:
    model = tiny_onnx.build_classifier()
    model.graph.node.append(helper.make_node("Relu", ["scores"], ["last"], "last"))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("last", tiny_onnx.FLOAT, None))
    normal = normalize_onnx(model, shown="tiny")
    bounds = {**BOUNDS, "last": (0.0, 5.0)}
    del bounds["scores"]
    assert run_onnx_engine(normal, Scheme.INT8, bounds).graph.output[0].name == "last"
