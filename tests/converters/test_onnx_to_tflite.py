from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from edgevision.converters.convert import convert
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.graph.reader import read_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tensorflow")

RNG = np.random.default_rng(7)
Shape = Sequence[int | str]


def draw(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def make_node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs.split(), output.split(), **attributes)


def write_model(
    path: Path,
    nodes: Sequence[Any],
    weights: Mapping[str, Any],
    *,
    shape: Shape = (1, 3, 12, 12),
    output: str = "y",
    opsets: Mapping[str, int] = MappingProxyType({"": 17}),
) -> Path:
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        list(nodes),
        "g",
        [info("x", onnx.TensorProto.FLOAT, list(shape))],
        [info(output, onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [onnx.helper.make_opsetid(*entry) for entry in opsets.items()]
    model = onnx.helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8
    onnx.save(model, str(path))
    return path


def list_ops(path: Path) -> list[str]:
    return [op.name for op in read_graph(path).ops]


def test_a_small_network_comes_out_fused_and_channels_last(tmp_path: Path) -> None:
    nodes = [
        make_node("Conv", "x w", "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        make_node("BatchNormalization", "a scale shift mean variance", "b"),
        make_node("Clip", "b low high", "c"),
        make_node("Conv", "c d", "e", group=8, pads=[1, 1, 1, 1]),
        make_node("HardSwish", "e", "f"),
        make_node("GlobalAveragePool", "f", "g"),
        make_node("Flatten", "g", "h"),
        make_node("Gemm", "h k bias", "i", transB=1),
        make_node("Softmax", "i", "y"),
    ]
    weights = {
        "w": draw(8, 3, 3, 3),
        "scale": draw(8),
        "shift": draw(8),
        "mean": draw(8),
        "variance": draw(8) ** 2 + 0.5,
        "low": np.float32(0),
        "high": np.float32(6),
        "d": draw(8, 1, 3, 3),
        "k": draw(4, 8),
        "bias": draw(4),
    }
    source = write_model(tmp_path / "m.onnx", nodes, weights, shape=("batch", 3, 12, 12))

    result = convert(source, tmp_path / "m.tflite")

    ops = list_ops(result.output)
    assert {"TRANSPOSE", "MUL", "SHAPE"}.isdisjoint(ops)
    assert [op for op in ops if op not in ("PAD", "RESHAPE")] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "HARD_SWISH",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert read_graph(result.output).input_specs()[0].shape == (1, 12, 12, 3)
    assert result.parity.max_relative_error < 1e-5


CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "grouped": ([make_node("Conv", "a w", "y", group=2)], {"w": draw(6, 2, 3, 3)}),
    "dilated": ([make_node("Conv", "a w", "y", dilations=[2, 2])], {"w": draw(6, 4, 3, 3)}),
    "same_lower": (
        [make_node("Conv", "a w", "y", auto_pad="SAME_LOWER", strides=[2, 2])],
        {"w": draw(6, 4, 2, 2)},
    ),
    "transposed": (
        [
            make_node(
                "ConvTranspose",
                "a w b",
                "y",
                strides=[2, 2],
                pads=[1, 1, 1, 1],
                output_padding=[1, 1],
            )
        ],
        {"w": draw(4, 5, 3, 3), "b": draw(5)},
    ),
    "max_pool": (
        [make_node("MaxPool", "a", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])],
        {},
    ),
    "average_pool": (
        [make_node("AveragePool", "a", "y", kernel_shape=[3, 3], pads=[1, 0, 1, 0])],
        {},
    ),
    "average_pool_counted": (
        [
            make_node(
                "AveragePool",
                "a",
                "y",
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                count_include_pad=1,
            )
        ],
        {},
    ),
    "squeeze_and_excite": (
        [
            make_node("ReduceMean", "a", "p", axes=[2, 3], keepdims=1),
            make_node("Conv", "p w", "q"),
            make_node("HardSigmoid", "q", "s", alpha=1 / 6),
            make_node("Mul", "a s", "y"),
        ],
        {"w": draw(4, 4, 1, 1)},
    ),
    "channel_arithmetic": (
        [make_node("Mul", "a m", "p"), make_node("Add", "p n", "y")],
        {"m": draw(4, 1, 1), "n": draw(1, 4, 1, 1)},
    ),
    "shuffle": (
        [
            make_node("Reshape", "a s", "p"),
            make_node("Transpose", "p", "q", perm=[0, 2, 1, 3, 4]),
            make_node("Reshape", "q t", "y"),
        ],
        {"s": np.array([1, 2, 2, 12, 12]), "t": np.array([1, 4, 12, 12])},
    ),
    "split_and_concat": (
        [make_node("Split", "a", "p q", axis=1), make_node("Concat", "q p a", "y", axis=1)],
        {},
    ),
    "slice": (
        [make_node("Slice", "a starts ends axes steps", "y")],
        {
            "starts": np.array([1, -9]),
            "ends": np.array([3, 1000]),
            "axes": np.array([1, 2]),
            "steps": np.array([1, 2]),
        },
    ),
    "resize_nearest": (
        [
            make_node(
                "Resize",
                "a  scales",
                "y",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        {"scales": np.float32([1, 1, 2, 2])},
    ),
    "reflect_pad": (
        [make_node("Pad", "a p", "y", mode="reflect")],
        {"p": np.array([0, 0, 1, 2, 0, 0, 2, 1])},
    ),
    "softmax_over_channels": ([make_node("Softmax", "a", "y", axis=1)], {}),
    "prelu": ([make_node("PRelu", "a m", "y")], {"m": draw(4, 1, 1)}),
    "flatten_in_order": (
        [make_node("Flatten", "a", "p"), make_node("MatMul", "p w", "y")],
        {"w": draw(4 * 12 * 12, 3)},
    ),
    "channels_last_input": (
        [make_node("Transpose", "a", "p", perm=[0, 2, 3, 1]), make_node("Relu", "p", "y")],
        {},
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_each_operation_agrees_with_onnx_runtime(name: str, tmp_path: Path) -> None:
    nodes, weights = CASES[name]
    first = make_node("Conv", "x first", "a")
    if name == "resize_nearest":
        nodes[0].input[:] = ["a", "", "scales"]
    source = write_model(
        tmp_path / "m.onnx", [first, *nodes], {"first": draw(4, 3, 1, 1), **weights}
    )

    result = convert(source, tmp_path / "m.tflite", task="classify")

    assert result.parity.max_relative_error < 1e-5


def test_unknown_operations_are_named_and_nothing_is_left(tmp_path: Path) -> None:
    nodes = [make_node("Einsum", "x w", "y", equation="bchw,ck->bkhw")]
    source = write_model(tmp_path / "m.onnx", nodes, {"w": draw(3, 2)})

    with pytest.raises(UnsupportedOpError, match="Einsum"):
        convert(source, tmp_path / "m.tflite", task="classify")

    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_open_image_sizes_are_refused(tmp_path: Path) -> None:
    source = write_model(
        tmp_path / "m.onnx", [make_node("Relu", "x", "y")], {}, shape=(1, 3, "height", 8)
    )

    with pytest.raises(InvalidModelError, match="height"):
        convert(source, tmp_path / "m.tflite", task="classify")


def test_a_model_that_only_fits_its_own_batch_is_refused(tmp_path: Path) -> None:
    nodes = [make_node("Reshape", "x s", "y")]
    source = write_model(
        tmp_path / "m.onnx", nodes, {"s": np.array([2, 3])}, shape=("batch", 3, 1, 1)
    )

    with pytest.raises(InvalidModelError):
        convert(source, tmp_path / "m.tflite", task="classify")


@pytest.mark.parametrize("domains", [("ai.onnx.ml", "com.microsoft"), ("com.microsoft",)])
def test_the_opset_is_that_of_the_standard_operations(
    tmp_path: Path, domains: Sequence[str]
) -> None:
    # Softmax works along one axis since opset 13; version 1 of another domain is no opset 1.
    nodes = [make_node("Conv", "x w", "a"), make_node("Softmax", "a", "y", axis=1)]
    opsets = dict.fromkeys(domains, 1) | {"": 17}
    source = write_model(tmp_path / "m.onnx", nodes, {"w": draw(4, 3, 3, 3)}, opsets=opsets)

    result = convert(source, tmp_path / "m.tflite", task="segment")

    assert result.parity.max_relative_error < 1e-5
    assert list_ops(result.output)[-1] == "SOFTMAX"
