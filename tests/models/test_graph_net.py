from __future__ import annotations

import subprocess
import sys

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.models.graph_net import GraphNet
from edgevision.models.net import Activation, Padding


def test_a_small_network_is_counted_as_by_hand() -> None:
    net = GraphNet()
    x = net.input((9, 7, 3), name="image")
    x = net.conv(x, 8, 3, stride=2, use_bias=False, name="stem")
    x = net.batch_norm(x, name="bn")
    x = net.depthwise_conv(x, (5, 3), multiplier=2, name="depthwise")
    x = net.transpose_conv(x, 4, 2, name="up")
    x = net.dense(net.global_pool(x, name="pool"), 10, name="dense")
    graph = net.build_graph("small", x)

    stem = (5 * 4) * (3 * 3 * 3 * 8)
    depthwise = (5 * 4) * (5 * 3 * 8 * 2)
    up = (5 * 4) * (2 * 2 * 16 * 4)
    assert count_macs(graph).total == stem + depthwise + up + 4 * 10
    kernels = 3 * 3 * 3 * 8 + 5 * 3 * 8 * 2 + 2 * 2 * 16 * 4 + 4 * 10
    biases = 16 + 4 + 10
    params = count_params(graph)
    assert params.total == kernels + biases + 4 * 8
    assert params.trainable == kernels + biases + 2 * 8


def test_the_graph_is_consistent() -> None:
    net = GraphNet()
    image = net.input((8, 8, 3), name="image")
    y = net.activation(net.conv(image, 4, 1, name="conv"), Activation.RELU6, name="relu6")
    graph = net.build_graph("tiny", {"scores": y})

    assert [t.index for t in graph.tensors] == list(range(len(graph.tensors)))
    assert [op.kind for op in graph.ops] == [OpKind.CONV_2D, OpKind.ACTIVATION]
    assert [op.label for op in graph.ops] == ["conv", "relu6"]
    conv, relu6 = graph.ops
    assert [t.name for t in graph.op_inputs(conv)] == ["image", "conv/kernel", "conv/bias"]
    assert [t.constant for t in graph.op_inputs(conv)] == [False, True, True]
    assert relu6.attributes["activation"] == "relu6"
    assert conv.attributes["kernel"] == (1, 1)
    assert conv.attributes["padding"] == "same"
    assert graph.signatures["serving_default"] == ({"image": image.index}, {"scores": y.index})
    assert graph.outputs == (y.index,)


def test_shared_kernels_are_counted_once_and_computed_on_every_map() -> None:
    net = GraphNet()
    maps = [net.input((side, side, 4), name=f"map_{side}") for side in (5, 3)]
    maps = net.depthwise_conv_each(maps, 3, name="depthwise", use_bias=False)
    graph = net.build_graph("shared", dict(enumerate(net.conv_each(maps, 6, 1, name="conv"))))  # type: ignore[arg-type]
    cells = 5 * 5 + 3 * 3
    assert count_params(graph).total == 3 * 3 * 4 + (4 * 6 + 6)
    assert count_macs(graph).total == cells * (3 * 3 * 4 + 4 * 6)
    assert [op.label for op in graph.ops] == ["depthwise"] * 2 + ["conv"] * 2
    assert [spec.shape for spec in graph.output_specs()] == [(1, 5, 5, 6), (1, 3, 3, 6)]


def test_statistics_of_batch_norm_are_constants_that_are_not_trained() -> None:
    net = GraphNet()
    x = net.batch_norm(net.input((4, 4, 6), name="x"), name="bn")
    graph = net.build_graph("bn", x)
    assert {t.name: t.trainable for t in graph.constants} == {
        "bn/gamma": True,
        "bn/beta": True,
        "bn/moving_mean": False,
        "bn/moving_variance": False,
    }


def test_what_leaves_no_trace_at_inference_emits_nothing() -> None:
    net = GraphNet()
    x = net.input((4, 4, 6), name="x")
    assert net.dropout(x, 0.5, name="dropout") is x
    assert net.activation(x, Activation.LINEAR, name="linear") is x


def test_shapes_that_do_not_fit_are_refused() -> None:
    net = GraphNet()
    small, large = net.input((2, 2, 4), name="small"), net.input((4, 4, 4), name="large")
    with pytest.raises(InvalidConfigError, match="sum: "):
        net.add([small, large], name="sum")
    with pytest.raises(InvalidConfigError, match="smaller than the window"):
        net.max_pool(small, 3, stride=2, name="pool")
    with pytest.raises(InvalidConfigError, match="number of values"):
        net.reshape(small, (5, 3), name="reshape")
    with pytest.raises(InvalidConfigError, match="conv: 2x2"):
        net.conv(small, 4, 3, padding=Padding.VALID, name="conv")


def test_planning_needs_neither_numpy_nor_tensorflow() -> None:
    code = (
        "import sys; from edgevision.models.catalog import list_models;"
        "from edgevision.models.registry import build_graph;"
        "list_models(); build_graph('mobilenet_v2', alpha=0.5);"
        "print([m for m in ('numpy', 'tensorflow', 'keras', 'PIL', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
