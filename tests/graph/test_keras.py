from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgevision.errors import UnsupportedOpError
from edgevision.graph.graph import Graph
from edgevision.graph.keras import read_keras
from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.specs import ModelFormat

keras = pytest.importorskip("keras")
L = keras.layers

# Keras and NumPy 2 disagree on a keyword; nothing to do with what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def model_of(shape: tuple[int | None, ...], *layers: Any) -> Any:
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def kinds(graph: Graph) -> list[OpKind]:
    return [op.kind for op in graph.ops]


def test_reads_the_structure() -> None:
    model = model_of(
        (9, 8, 3),
        L.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem"),
        L.BatchNormalization(),
        L.ReLU(6.0),
        L.DepthwiseConv2D(3, name="depthwise"),
        L.Activation("hard_silu"),
        L.GlobalAveragePooling2D(),
        L.Dropout(0.2),
        L.Dense(5, activation="softmax"),
    )
    graph = read_keras(model)
    assert graph.format is ModelFormat.KERAS
    assert kinds(graph) == [
        OpKind.CONV_2D,
        OpKind.BATCH_NORM,
        OpKind.ACTIVATION,
        OpKind.DEPTHWISE_CONV_2D,
        OpKind.ACTIVATION,
        OpKind.GLOBAL_POOL,
        OpKind.FULLY_CONNECTED,
        OpKind.SOFTMAX,
    ]
    assert graph.input_specs()[0].shape == (-1, 9, 8, 3)
    assert graph.output_specs()[0].shape == (1, 5)
    assert graph.ops[0].attributes == {
        "kernel": (3, 3),
        "strides": (2, 2),
        "dilations": (1, 1),
        "padding": "same",
        "groups": 1,
    }
    assert graph.ops[2].attributes["activation"] == "relu6"
    assert graph.ops[4].attributes["activation"] == "hard_swish"
    macs = 5 * 4 * 3 * 3 * 3 * 4 + 3 * 2 * 3 * 3 * 4 + 4 * 5
    assert count_macs(graph).total == macs


def test_parameters_are_those_of_keras() -> None:
    model = model_of((8, 8, 3), L.Conv2D(4, 3), L.BatchNormalization(), L.PReLU(), L.Flatten())
    count = count_params(read_keras(model))
    assert count.total == model.count_params()
    assert count.trainable == model.count_params() - 2 * 4


def test_frozen_layers_are_not_trainable() -> None:
    model = model_of((4,), L.Dense(3, name="a"), L.Dense(2))
    model.get_layer("a").trainable = False
    assert count_params(read_keras(model)).trainable == 3 * 2 + 2


def test_nested_models_are_taken_apart_at_the_size_they_are_used() -> None:
    inner = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(4, 3, name="conv")])
    model = model_of((10, 12, 3), keras.Sequential([inner, L.MaxPooling2D()], name="outer"))
    graph = read_keras(model)
    assert kinds(graph) == [OpKind.CONV_2D, OpKind.MAX_POOL]
    assert graph.ops[0].label.startswith("outer/")
    assert count_macs(graph).total == 8 * 10 * 3 * 3 * 3 * 4


def test_shared_layers_count_per_use_and_their_weights_once() -> None:
    shared = L.Conv2D(3, 3, padding="same", use_bias=False)
    graph = read_keras(model_of((8, 8, 3), shared, L.ReLU(), shared))
    assert count_macs(graph).total == 2 * 8 * 8 * 3 * 3 * 3 * 3
    assert count_params(graph).total == 3 * 3 * 3 * 3


def test_reading_leaves_the_model_alone() -> None:
    layer = L.Dense(3)
    model = model_of((4,), layer)
    read_keras(model)
    assert len(layer._inbound_nodes) == 1
    assert layer.output.shape == (None, 3)


def test_separable_convolution_is_two() -> None:
    graph = read_keras(model_of((8, 8, 3), L.SeparableConv2D(5, 3, depth_multiplier=2)))
    assert kinds(graph) == [OpKind.DEPTHWISE_CONV_2D, OpKind.CONV_2D]
    assert count_macs(graph).total == 6 * 6 * 3 * 3 * 6 + 6 * 6 * 6 * 5
    assert count_params(graph).total == 3 * 3 * 6 + 6 * 5 + 5


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (lambda: L.Conv2D(8, 3, groups=2), 6 * 6 * 3 * 3 * (4 // 2) * 8),
        (lambda: L.Conv2D(8, 3, dilation_rate=2), 4 * 4 * 3 * 3 * 4 * 8),
        (lambda: L.Conv2DTranspose(8, 3, strides=2), 8 * 8 * 3 * 3 * 4 * 8),
        (lambda: L.DepthwiseConv2D(3, depth_multiplier=3), 6 * 6 * 3 * 3 * 4 * 3),
        (lambda: L.Dense(7), 8 * 8 * 4 * 7),
        (lambda: L.EinsumDense("bhwc,cd->bhwd", (8, 8, 7)), 8 * 8 * 4 * 7),
    ],
)
def test_counted_layers(layer: Any, macs: int) -> None:
    assert count_macs(read_keras(model_of((8, 8, 4), layer()))).total == macs


def test_one_dimensional_convolution() -> None:
    graph = read_keras(model_of((20, 3), L.Conv1D(4, 5)))
    assert graph.ops[0].attributes["kernel"] == (1, 5)
    assert count_macs(graph).total == 16 * 5 * 3 * 4


def test_operations_and_branches() -> None:
    inputs = keras.Input((8, 8, 3))
    a = L.Conv2D(8, 1)(inputs)
    b = keras.ops.relu6(L.Conv2D(8, 1)(inputs))
    graph = read_keras(keras.Model(inputs, [a + b, keras.ops.matmul(a, b)]))
    assert {OpKind.ADD, OpKind.MATMUL, OpKind.ACTIVATION} <= set(kinds(graph))
    assert count_macs(graph).total == 2 * (8 * 8 * 3 * 8) + 8 * (8 * 8 * 8)


def test_recurrent_and_attention_layers_are_listed() -> None:
    inputs = keras.Input((6, 8))
    x = L.LSTM(4, return_sequences=True)(inputs)
    x = L.MultiHeadAttention(2, 4)(x, x)
    model = keras.Model(inputs, x)
    count = count_macs(read_keras(model))
    assert (count.total, count.uncounted) == (0, {"LSTM": 1, "MultiHeadAttention": 1})
    assert count_params(read_keras(model)).total == model.count_params()


def test_subclassed_models_are_refused() -> None:
    class Custom(keras.Model):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(UnsupportedOpError, match="Functional"):
        read_keras(Custom())


def test_unbuilt_sequential_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="Input"):
        read_keras(keras.Sequential([L.Dense(3)]))


def test_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    model_of((8, 8, 3), L.Conv2D(4, 3)).save(path)
    graph = read_keras(path)
    assert (graph.format, graph.file_bytes) == (ModelFormat.KERAS, path.stat().st_size)


def test_real_files(real_data: Path) -> None:
    totals = {p.name: count_macs(read_keras(p)).total for p in real_data.glob("models/*.h5")}
    assert totals == {
        "vww_96.h5": 7_489_664,
        "resnet8_cifar10.h5": 12_501_632,
        "mobilenet_v1_0.25_224_imagenet.h5": 41_030_272,
    }


def test_paddings_of_every_rank_are_read() -> None:
    rows = read_keras(model_of((9, 3), L.ZeroPadding1D((1, 2)))).ops[0]
    assert rows.attributes == {"paddings": (0, 0, 1, 2, 0, 0)}
    first = L.ZeroPadding2D(((1, 2), (3, 4)), data_format="channels_first")
    assert read_keras(model_of((3, 8, 8), first)).ops[0].attributes == {
        "padding": (1, 2, 3, 4),
        "channel_axis": 1,
    }
