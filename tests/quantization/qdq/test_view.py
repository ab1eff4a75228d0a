from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_onnx
from onnx import helper, numpy_helper

from edgevision.graph.graph import Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.layers import find_layers, get_bias, get_weights
from edgevision.quantization.moments import (
    Activation,
    gather_patches,
    group_weights,
)
from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.network import open_network
from edgevision.quantization.qdq.view import (
    restore_weights,
    turn_weights,
    view_onnx,
)

node = helper.make_node


def draw_images(model: Any, count: int = 5) -> np.ndarray:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    "build", [tiny_onnx.build_classifier, tiny_onnx.build_detector, tiny_onnx.build_segmenter]
)
def test_patches_times_weights_are_what_the_layers_give(build: Any) -> None:
    model = normalize_onnx(build(), shown="tiny")
    network = open_network(model)
    graph, images = network.graph, draw_images(model)
    layers = find_layers(graph)
    assert len(layers) == sum(n.op_type in ("Conv", "Gemm") for n in model.graph.node)
    for op in layers:
        source, result = network.run(images, (op.inputs[0], op.outputs[0]))
        weights, bias = get_weights(graph, op), get_bias(graph, op)
        assert weights.data is not None
        assert bias is not None
        assert bias.data is not None
        patches = gather_patches(
            op,
            weights.shape,
            Activation(values=source[:, 0]),
            output_shape=result[:, 0].shape,
            seed=0,
        )
        made = np.einsum("gok,grk->rgo", group_weights(op, weights.data), patches)
        made = made.reshape(len(made), -1) + bias.data
        if op.attributes.get("activation"):
            made = np.clip(made, 0, 6 if op.attributes["activation"] == "relu6" else None)
        assert np.allclose(made, result.reshape(made.shape), atol=1e-4)


def test_activations_belong_to_the_layer_before_them() -> None:
    view = view_onnx(normalize_onnx(tiny_onnx.build_classifier(), shown="tiny"))
    graph = view.graph
    stem, depthwise, head = find_layers(graph)
    assert stem.attributes["activation"] == "relu6"
    assert graph.tensors[stem.outputs[0]].name == "r0"
    assert graph.tensors[stem.outputs[0]].shape == (1, 4, 4, 4)
    assert depthwise.kind is OpKind.DEPTHWISE_CONV_2D
    assert get_weights(graph, depthwise).shape == (1, 3, 3, 4)
    assert head.kind is OpKind.FULLY_CONNECTED
    assert get_weights(graph, head).shape == (5, 4)
    assert "Clip" not in [op.name for op in graph.ops]
    assert [op.index for op in graph.ops] == list(range(len(graph.ops)))
    assert depthwise.outputs[0] in view.turned
    assert graph.inputs[0] in view.turned
    assert head.inputs[0] not in view.turned


def test_an_activation_with_another_reader_stays_apart() -> None:
    model = tiny_onnx.build_classifier()
    model.graph.node.append(node("GlobalAveragePool", ["c0"], ["other"], "other"))
    model.graph.output.append(helper.make_tensor_value_info("other", tiny_onnx.FLOAT, None))
    graph = view_onnx(normalize_onnx(model, shown="tiny")).graph
    assert "activation" not in find_layers(graph)[0].attributes
    assert "Clip" in [op.name for op in graph.ops]


def test_weights_that_two_operations_take_in_two_ways_are_no_layers() -> None:
    model = tiny_onnx.build_classifier()
    square = tiny_onnx.weights(5, 5)
    model.graph.initializer.append(numpy_helper.from_array(square, "shared"))
    model.graph.node.extend(
        (
            node("Gemm", ["scores", "shared"], ["a"], "a"),
            node("Gemm", ["a", "shared"], ["b"], "b", transB=1),
            node("Gemm", ["b", "w2"], ["c"], "c"),
        )
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("c", tiny_onnx.FLOAT, None))
    graph = view_onnx(normalize_onnx(model, shown="tiny")).graph
    # The head's own weights are read again, the other way round.
    assert {op.label for op in find_layers(graph)} == {"stem", "depthwise"}


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "shape"),
    [
        (OpKind.CONV_2D, "Conv", {}, (8, 3, 5, 6)),
        (OpKind.DEPTHWISE_CONV_2D, "Conv", {}, (8, 1, 3, 5)),
        (OpKind.FULLY_CONNECTED, "Gemm", {"transpose_b": True}, (4, 7)),
        (OpKind.FULLY_CONNECTED, "MatMul", {}, (4, 7)),
    ],
)
def test_weights_go_there_and_back(
    kind: OpKind, name: str, attributes: dict[str, Any], shape: tuple[int, ...]
) -> None:
    op = Op(0, kind, name, (0, 1), (2,), attributes)
    stored = tiny_onnx.weights(*shape)
    assert np.array_equal(restore_weights(op, turn_weights(op, stored)), stored)


def test_one_bias_for_all_outputs_is_none_of_a_layer() -> None:
    model = tiny_onnx.build_classifier()
    for tensor in model.graph.initializer:
        if tensor.name == "b2":
            tensor.CopyFrom(numpy_helper.from_array(np.float32([0.5]), "b2"))
    graph = view_onnx(normalize_onnx(model, shown="tiny")).graph
    assert {op.label for op in find_layers(graph)} == {"stem", "depthwise"}


def test_a_region_ends_where_axes_move() -> None:
    view = view_onnx(normalize_onnx(tiny_onnx.build_detector(), shown="tiny"))
    names = {view.graph.tensors[t].name for t in view.turned}
    assert {"x", "relu_0", "boxes_0", "scores_1"} <= names
    assert not {"image", "flat_boxes_0.t", "flat_boxes_0"} & names
    for tensor in view.turned:
        shape = view.graph.tensors[tensor].shape
        assert view.turn(tensor, np.zeros((2, 1, shape[3], *shape[1:3]))).shape[1:] == shape
        back = view.restore(tensor, np.zeros((2, *shape)))
        assert back.shape == (2, 1, shape[3], *shape[1:3])
