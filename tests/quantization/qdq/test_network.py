from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_onnx

from edgevision.quantization.activation_equalization import equalize_activations
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.dead_channels import remove_dead_channels
from edgevision.quantization.layers import find_layers, get_bias, get_weights
from edgevision.quantization.logit_clipping import clip_logits, find_logits
from edgevision.quantization.qdq.calibrate import calibrate_onnx
from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.network import OnnxNetwork, open_network
from edgevision.quantization.weight_equalization import equalize_weights

Array = np.ndarray[Any, Any]


def draw(count: int = 12) -> Array:
    return np.random.default_rng(0).uniform(0, 1, (count, 1, 3, 8, 8)).astype(np.float32)


def open_calibrated(model: Any) -> OnnxNetwork:
    """Read a network with the ranges that it has on the drawn images, pixels included."""
    network = open_network(normalize_onnx(model, shown="tiny"))
    ranges = calibrate_onnx(network, draw()).ranges
    pixels = ChannelRange(low=np.zeros(1, np.float32), high=np.ones(1, np.float32))
    return network.with_ranges({**ranges, network.graph.inputs[0]: pixels})


def scale_channels(model: Any) -> Any:
    """Give the channels between stem and depthwise layer very different sizes."""
    factors = np.array([1, 0.3, 0.1, 0.02], np.float32)
    changes = {"w0": factors.reshape(-1, 1, 1, 1), "b0": factors, "w1": 1 / factors[:, None]}
    for tensor in model.graph.initializer:
        if tensor.name in changes:
            values = tiny_onnx.numpy_helper.to_array(tensor)
            factor = changes[tensor.name].reshape(-1, *[1] * (values.ndim - 1))
            scaled = np.asarray(values * factor / 4, np.float32)
            tensor.CopyFrom(tiny_onnx.numpy_helper.from_array(scaled, tensor.name))
    return model


def answer(network: OnnxNetwork) -> Array:
    return network.run(draw(), network.graph.outputs)[0]


@pytest.mark.parametrize("step", [equalize_activations, equalize_weights])
def test_equalized_channels_answer_the_same(step: Any) -> None:
    network = open_calibrated(scale_channels(tiny_onnx.build_classifier()))

    equalized, changed = step(network, draw())

    assert changed >= 1
    np.testing.assert_allclose(answer(equalized), answer(network), rtol=1e-4, atol=1e-5)
    (tensor,) = [t.index for t in network.graph.tensors if t.name == "r0"]
    before, after = (side.ranges[tensor] for side in (network, equalized))
    assert (after.high >= before.high).all()
    assert after.high[3] > 1.5 * before.high[3]
    assert after.bounds()[1] == pytest.approx(before.bounds()[1])
    measured = calibrate_onnx(equalized, draw()).ranges[tensor]
    np.testing.assert_allclose(measured.high, after.high, rtol=1e-4)


def test_dead_channels_leave_the_weights() -> None:
    model = tiny_onnx.build_classifier()
    for tensor in model.graph.initializer:
        if tensor.name == "b0":
            values = np.array([0.5, -1e3, 0.5, 0.5], np.float32)
            tensor.CopyFrom(tiny_onnx.numpy_helper.from_array(values, "b0"))
    network = open_calibrated(model)

    changed, count = remove_dead_channels(network, draw())

    assert count == 2
    stem, depthwise = find_layers(changed.graph)[:2]
    assert not np.asarray(get_weights(changed.graph, stem).data)[1].any()
    assert not np.asarray(get_weights(changed.graph, depthwise).data)[..., 1].any()
    np.testing.assert_allclose(answer(changed), answer(network), rtol=1e-4, atol=1e-5)


def test_logits_before_a_softmax_are_clipped() -> None:
    model = tiny_onnx.build_classifier()
    node = tiny_onnx.helper.make_node("Softmax", ["scores"], ["answer"], "softmax", axis=1)
    model.graph.node.append(node)
    del model.graph.output[:]
    value = tiny_onnx.helper.make_tensor_value_info("answer", tiny_onnx.FLOAT, None)
    model.graph.output.append(value)
    for tensor in model.graph.initializer:
        if tensor.name == "b2":
            values = np.array([0, 1, 2, -300, 3], np.float32)
            tensor.CopyFrom(tiny_onnx.numpy_helper.from_array(values, "b2"))
    network = open_calibrated(model)
    ((logits,),) = find_logits(network.graph)

    clipped, changed = clip_logits(network, draw())

    assert changed == 1
    assert network.ranges[logits].bounds()[0] < -200
    assert clipped.ranges[logits].bounds()[0] > -100
    assert clipped.ranges[logits].bounds()[1] == network.ranges[logits].bounds()[1]


@pytest.mark.parametrize(("axis", "clipped"), [(1, True), (2, False), (-3, True)])
def test_a_softmax_has_to_be_over_channels(axis: int, clipped: bool) -> None:
    model = tiny_onnx.build_segmenter()
    node = tiny_onnx.helper.make_node("Softmax", ["scores"], ["answer"], "softmax", axis=axis)
    model.graph.node.append(node)
    del model.graph.output[:]
    value = tiny_onnx.helper.make_tensor_value_info("answer", tiny_onnx.FLOAT, None)
    model.graph.output.append(value)
    network = open_network(normalize_onnx(model, shown="tiny"))
    assert bool(find_logits(network.graph)) == clipped


def test_constants_are_stored_as_onnx_does() -> None:
    network = open_network(normalize_onnx(tiny_onnx.build_classifier(), shown="tiny"))
    constants = dict[int, Array]()
    for op in find_layers(network.graph):
        for tensor in (get_weights(network.graph, op), get_bias(network.graph, op)):
            assert tensor is not None
            assert tensor.data is not None
            constants[tensor.index] = 2 * tensor.data
    doubled = network.with_constants(constants)
    stored = {t.name: tiny_onnx.numpy_helper.to_array(t) for t in doubled.model.graph.initializer}
    before = {t.name: tiny_onnx.numpy_helper.to_array(t) for t in network.model.graph.initializer}
    for name in ("w0", "b0", "w1", "w2", "b2"):
        assert np.array_equal(stored[name], 2 * before[name])
    assert network.with_constants({}) is network


def test_tensors_are_read_with_channels_last() -> None:
    network = open_network(normalize_onnx(tiny_onnx.build_classifier(), shown="tiny"))
    graph, images = network.graph, draw(3)
    op = find_layers(graph)[0]
    pixels, result = network.run(images, (op.inputs[0], op.outputs[0]))
    assert np.array_equal(pixels[:, 0], images[:, 0].transpose(0, 2, 3, 1))
    assert result.shape == (3, *graph.tensors[op.outputs[0]].shape)
