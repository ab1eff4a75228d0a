from __future__ import annotations

from typing import Any

import pytest

from edgevision.graph.ops import OpKind
from edgevision.models.graph_net import GraphNet
from edgevision.models.net import Activation, Interpolation, Net, Padding, PoolKind

pytest.importorskip("tensorflow")


def write_everything(net: Net[Any]) -> dict[str, Any]:
    """Call every primitive once or more."""
    x = net.input((9, 12, 4), name="image")
    outputs = {
        "valid": net.conv(x, 6, 3, stride=2, padding=Padding.VALID, name="valid"),
        "grouped": net.conv(x, 6, (3, 1), groups=2, use_bias=False, name="grouped"),
        "dilated": net.conv(x, 6, 3, dilation=2, padding=Padding.VALID, name="dilated"),
        "depthwise": net.depthwise_conv(x, 5, stride=2, multiplier=2, name="depthwise"),
        "up_same": net.transpose_conv(x, 3, 3, stride=2, name="up_same"),
        "up_valid": net.transpose_conv(x, 3, 3, padding=Padding.VALID, name="up_valid"),
        "bn": net.batch_norm(x, momentum=0.9, epsilon=1e-5, name="bn"),
        "padded": net.zero_pad(x, ((1, 2), (0, 3)), name="padded"),
        "mean": net.global_pool(x, keepdims=True, name="mean"),
        "maximum": net.global_pool(x, kind=PoolKind.MAX, name="maximum"),
        "max_pool": net.max_pool(x, 3, stride=2, padding=Padding.SAME, name="max_pool"),
        "avg_pool": net.avg_pool(x, (2, 3), stride=(2, 3), name="avg_pool"),
        "concat": net.concat([x, x], name="concat"),
        "stacked": net.concat([x, x], axis=1, name="stacked"),
        "added": net.add([x, x], name="added"),
        "resized": net.resize(x, (5, 30), name="resized"),
        "nearest": net.resize(x, (18, 24), interpolation=Interpolation.NEAREST, name="nearest"),
        "reshaped": net.reshape(x, (-1, 8), name="reshaped"),
        "rescaled": net.rescale(x, scale=2.0, offset=-1.0, name="rescaled"),
        "flat": net.flatten(x, name="flat"),
    }
    small = net.resize(x, (3, 4), name="small")
    for number, y in enumerate(net.conv_each([x, small], 5, 3, name="each")):
        outputs[f"each_{number}"] = y
    for number, y in enumerate(net.depthwise_conv_each([x, small], 3, name="depthwise_each")):
        outputs[f"depthwise_each_{number}"] = y
    outputs["gated"] = net.multiply([x, outputs["mean"]], name="gated")
    outputs["dense"] = net.dropout(net.dense(outputs["flat"], 7, name="fc"), 0.5, name="dense")
    for function in Activation:
        outputs[f"act_{function}"] = net.activation(x, function, name=f"act_{function}")
    return outputs


def test_both_readings_agree_on_every_primitive() -> None:
    from edgevision.models.keras_net import KerasNet

    keras_net, graph_net = KerasNet(), GraphNet()
    layers, tensors = write_everything(keras_net), write_everything(graph_net)
    for name, tensor in tensors.items():
        assert keras_net.shape_of(layers[name]) == graph_net.shape_of(tensor), name

    model = keras_net.build_model("everything", layers)
    graph = graph_net.build_graph("everything", tensors)
    assert sum(t.size for t in graph.constants) == model.count_params()
    shapes = {tuple(w.path.split("/")[-2:]): tuple(w.shape) for w in model.weights}
    assert {tuple(t.name.split("/")): t.shape for t in graph.constants} == shapes


def test_both_readings_name_attributes_alike() -> None:
    from edgevision.graph.keras import read_keras
    from edgevision.models.keras_net import KerasNet

    keras_net, graph_net = KerasNet(), GraphNet()
    model = keras_net.build_model("everything", write_everything(keras_net))
    graph = graph_net.build_graph("everything", write_everything(graph_net))
    read = {op.label: op for op in read_keras(model).ops}
    shared = [op for op in graph.ops if op.label in read]
    assert len(shared) > 20
    for op in shared:
        found, own = dict(read[op.label].attributes), dict(op.attributes)
        if op.kind in (OpKind.PAD, OpKind.GLOBAL_POOL, OpKind.RESIZE):
            assert found == own, op.label
        # What only one reading states is no contradiction; axes may count from the end.
        common = (found.keys() & own.keys()) - {"axis"}
        assert {k: found[k] for k in common} == {k: own[k] for k in common}, op.label


def test_hard_functions_are_those_of_the_paper() -> None:
    import numpy as np

    from edgevision.models.keras_net import KerasNet

    x = np.linspace(-5, 5, 41, dtype="float32").reshape(1, 41, 1, 1)
    gate = np.clip(x + 3, 0, 6) / 6
    for function, expected in ((Activation.HARD_SIGMOID, gate), (Activation.HARD_SWISH, x * gate)):
        net = KerasNet()
        y = net.activation(net.input((41, 1, 1), name="x"), function, name="y")
        np.testing.assert_allclose(net.build_model("f", y)(x), expected, atol=1e-6)


def test_features_of_both_readings_agree() -> None:
    from edgevision.models.registry import build_feature_graph, create_features

    choices: dict[str, Any] = {"alpha": 0.1, "input_size": (64, 40), "strides": (2, 16)}
    model = create_features("mobilenet_v2", **choices, expanded=True, output_stride=16)
    graph = build_feature_graph("mobilenet_v2", **choices, expanded=True, output_stride=16)
    shapes = {name: tuple(t.shape[1:]) for name, t in model.output.items()}
    assert shapes["stride_16"][:2] == (4, 3)
    outputs = graph.signatures["serving_default"][1]
    assert shapes == {name: graph.tensors[i].shape[1:] for name, i in outputs.items()}
