from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402
from tiny_onnx import (  # noqa: E402
    CLASSIFIER_MACS,
    CLASSIFIER_PARAMS,
    build_classifier,
    make_model,
    save,
    weights,
)

from edgevision.errors import InvalidModelError, MissingFileError  # noqa: E402
from edgevision.graph.graph import Graph  # noqa: E402
from edgevision.graph.macs import count_macs  # noqa: E402
from edgevision.graph.onnx import read_onnx  # noqa: E402
from edgevision.graph.ops import OpKind  # noqa: E402
from edgevision.graph.params import count_params  # noqa: E402
from edgevision.specs import ModelFormat, Quantization  # noqa: E402


def read(model: object, folder: Path) -> Graph:
    return read_onnx(save(model, folder / "tiny.onnx"))


def test_reads_the_structure(tmp_path: Path) -> None:
    graph = read(build_classifier(), tmp_path)
    assert graph.format is ModelFormat.ONNX
    assert graph.file_bytes == (tmp_path / "tiny.onnx").stat().st_size
    assert [op.kind for op in graph.ops] == [
        OpKind.CONV_2D,
        OpKind.ACTIVATION,
        OpKind.DEPTHWISE_CONV_2D,
        OpKind.GLOBAL_POOL,
        OpKind.RESHAPE,
        OpKind.FULLY_CONNECTED,
    ]
    assert [s.shape for s in graph.output_specs()] == [(1, 5)]
    assert graph.ops[0].label == "stem"


def test_symbolic_batch_counts_as_one_and_stays_visible(tmp_path: Path) -> None:
    graph = read(build_classifier(batch="N"), tmp_path)
    assert [s.shape for s in graph.input_specs()] == [(-1, 3, 8, 8)]
    assert count_macs(graph).total == CLASSIFIER_MACS


@pytest.mark.parametrize("batch", [1, 0, "N"])
def test_batch_does_not_change_the_counts(tmp_path: Path, batch: int | str) -> None:
    graph = read(build_classifier(batch=batch), tmp_path)
    assert count_macs(graph).total == CLASSIFIER_MACS
    assert count_params(graph).total == CLASSIFIER_PARAMS


def test_initializers_listed_as_inputs_are_no_inputs(tmp_path: Path) -> None:
    graph = read(build_classifier(list_constants=True), tmp_path)
    assert [graph.tensors[i].name for i in graph.inputs] == ["image"]
    assert count_params(graph).total == CLASSIFIER_PARAMS


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_operator_sets(tmp_path: Path, opset: int) -> None:
    assert count_macs(read(build_classifier(opset=opset), tmp_path)).total == CLASSIFIER_MACS


def test_normalizes_windows(tmp_path: Path) -> None:
    stem, clip, depthwise = read(build_classifier(), tmp_path).ops[:3]
    assert stem.attributes == {
        "kernel": (3, 3),
        "strides": (2, 2),
        "dilations": (1, 1),
        "padding": (1, 1, 1, 1),
        "groups": 1,
        "channel_axis": 1,
    }
    assert clip.attributes["activation"] == "relu6"
    assert depthwise.attributes["groups"] == 4


def test_constants_are_read_only_views(tmp_path: Path) -> None:
    graph = read(build_classifier(), tmp_path)
    kernel = next(t for t in graph.constants if t.name == "w0")
    np.testing.assert_array_equal(kernel.data, weights(4, 3, 3, 3))
    assert not kernel.data.flags.writeable


def test_one_dimensional_convolution_is_two_dimensional(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], dilations=[2], pads=[2, 2])
    model = make_model(
        [node], inputs=[("x", (1, 3, 20))], outputs=["y"], constants={"w": weights(8, 3, 3)}
    )
    graph = read(model, tmp_path)
    assert graph.ops[0].kind is OpKind.CONV_2D
    assert graph.ops[0].attributes["kernel"] == (1, 3)
    assert graph.ops[0].attributes["padding"] == (0, 0, 2, 2)
    assert count_macs(graph).total == 20 * 3 * 3 * 8


def test_attributes_have_the_names_of_all_formats(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Resize", ["padded", "", "scales"], ["large"], mode="linear"),
        helper.make_node("ReduceMax", ["large"], ["row"], axes=[3], keepdims=0),
        helper.make_node("GlobalAveragePool", ["large"], ["y"]),
    ]
    constants = {
        "pads": np.array([0, 0, 1, 3, 0, 0, 2, 4], np.int64),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    model = make_model(
        nodes, inputs=[("x", (1, 3, 8, 8))], outputs=["y", "row"], constants=constants
    )
    pad, resize, reduce, pool = (dict(op.attributes) for op in read(model, tmp_path).ops)
    assert pad == {"padding": (1, 2, 3, 4), "channel_axis": 1}
    assert resize == {
        "mode": "bilinear",
        "half_pixel_centers": True,
        "align_corners": False,
        "channel_axis": 1,
    }
    assert reduce == {"reduction": "max", "axes": (3,), "keep_dims": False}
    assert pool == {"reduction": "mean", "axes": (2, 3), "keep_dims": True, "channel_axis": 1}


def test_same_lower_padding_is_spelled_out(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_LOWER", strides=[2, 2])
    model = make_model(
        [node], inputs=[("x", (1, 3, 8, 8))], outputs=["y"], constants={"w": weights(8, 3, 3, 3)}
    )
    assert read(model, tmp_path).ops[0].attributes["padding"] == (1, 0, 1, 0)


def test_transposed_and_grouped_convolutions(tmp_path: Path) -> None:
    node = helper.make_node
    model = make_model(
        [
            node("Conv", ["x", "w0"], ["a"], group=4, pads=[1, 1, 1, 1]),
            node("ConvTranspose", ["a", "w1"], ["y"], strides=[2, 2]),
        ],
        inputs=[("x", ("batch", 8, 5, 6))],
        outputs=["y"],
        constants={"w0": weights(16, 8 // 4, 3, 3), "w1": weights(16, 4, 2, 2)},
    )
    macs = count_macs(read(model, tmp_path)).per_op
    assert macs == {0: 5 * 6 * 3 * 3 * (8 // 4) * 16, 1: 5 * 6 * 2 * 2 * 16 * 4}


def test_quantize_dequantize_pairs(tmp_path: Path) -> None:
    node = helper.make_node
    constants = {
        "s": np.float32(0.5),
        "z": np.uint8(128),
        "ws": np.array([0.1, 0.2], np.float32),
        "wz": np.zeros(2, np.int8),
        "w": np.ones((2, 3, 1, 1), np.int8),
    }
    model = make_model(
        [
            node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
            node("Conv", ["d", "dw"], ["y"]),
        ],
        inputs=[("x", ("N", 3, 4, 4))],
        outputs=["y"],
        constants=constants,
    )
    graph = read(model, tmp_path)
    by_name = {t.name: t for t in graph.tensors}
    assert by_name["q"].quantization == Quantization((0.5,), (128,), None)
    scales = tuple(float(s) for s in constants["ws"])
    assert by_name["w"].quantization == Quantization(scales, (0, 0), 0)
    assert count_macs(graph).total == 4 * 4 * 3 * 2
    assert count_params(graph).total == 2 * 3


def test_contributed_quantized_operators(tmp_path: Path) -> None:
    node, domain = helper.make_node, "com.microsoft"
    scaled = ["s", "z"]
    model = make_model(
        [
            node("QuantizeLinear", ["x", *scaled], ["q"]),
            node("QLinearConv", ["q", *scaled, "w", *scaled, *scaled], ["c"]),
            node("QLinearAdd", ["c", *scaled, "c", *scaled, *scaled], ["a"], domain=domain),
            node(
                "QLinearGlobalAveragePool",
                ["a", *scaled, *scaled],
                ["p"],
                domain=domain,
                channels_last=0,
            ),
            node("Flatten", ["p"], ["f"]),
            node("QGemm", ["f", *scaled, "v", *scaled, "", *scaled], ["g"], domain=domain),
            node("DequantizeLinear", ["g", *scaled], ["y"]),
        ],
        inputs=[("x", ("N", 3, 4, 4))],
        outputs=["y"],
        constants={
            "s": np.float32(0.5),
            "z": np.uint8(128),
            "w": np.ones((6, 3, 1, 1), np.uint8),
            "v": np.ones((6, 2), np.uint8),
        },
        domains=[domain],
    )
    graph = read(model, tmp_path)
    assert count_macs(graph).total == 4 * 4 * 3 * 6 + 6 * 2
    assert count_params(graph).total == 6 * 3 + 6 * 2


def test_unknown_operators_are_custom(tmp_path: Path) -> None:
    node = helper.make_node("Wonder", ["x"], ["y"], domain="my.ops")
    model = make_model(
        [node], inputs=[("x", (1, 4))], outputs=["y"], constants={}, domains=["my.ops"]
    )
    op = read(model, tmp_path).ops[0]
    assert (op.kind, op.name) == (OpKind.CUSTOM, "CUSTOM:my.ops.Wonder")


def test_constant_nodes_become_constants(tmp_path: Path) -> None:
    node = helper.make_node
    value = helper.make_tensor("v", TensorProto.FLOAT, [3, 2], np.arange(6, dtype=np.float32))
    model = make_model(
        [
            node("Constant", [], ["w"], value=value),
            node("Constant", [], ["shape"], value_ints=[-1, 2]),
            node("MatMul", ["x", "w"], ["m"]),
            node("Reshape", ["m", "shape"], ["y"]),
        ],
        inputs=[("x", ("N", 3))],
        outputs=["y"],
        constants={},
    )
    graph = read(model, tmp_path)
    assert [op.name for op in graph.ops] == ["MatMul", "Reshape"]
    assert graph.ops[1].attributes["shape"] == (-1, 2)
    assert count_macs(graph).total == 3 * 2
    assert count_params(graph).total == 3 * 2


def test_bodies_of_control_flow_are_subgraphs(tmp_path: Path) -> None:
    node = helper.make_node

    def body(op: str) -> object:
        out = helper.make_tensor_value_info(op, TensorProto.FLOAT, None)
        return helper.make_graph([node(op, ["x"], [op])], op, [], [out])

    model = make_model(
        [node("If", ["flag"], ["y"], then_branch=body("Abs"), else_branch=body("Neg"))],
        inputs=[("x", (1, 4))],
        outputs=["y"],
        constants={"flag": np.bool_(True)},
    )
    graph = read(model, tmp_path)
    assert graph.ops[0].kind is OpKind.CONTROL_FLOW
    places = graph.ops[0].attributes
    bodies = {key: graph.subgraphs[place - 1] for key, place in places.items()}
    assert bodies["then_branch"].ops[0].name == "Abs"
    assert bodies["else_branch"].ops[0].name == "Neg"
    assert [t.name for t in bodies["else_branch"].tensors] == ["x", "Neg"]


def test_external_data_are_mapped(tmp_path: Path) -> None:
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    path = save(build_classifier(), tmp_path / "big.onnx", **options)
    graph = read_onnx(path)
    assert graph.file_bytes == path.stat().st_size + (tmp_path / "w.bin").stat().st_size
    kernel = next(t for t in graph.constants if t.name == "w0")
    np.testing.assert_array_equal(kernel.data, weights(4, 3, 3, 3))
    assert count_macs(graph).total == CLASSIFIER_MACS


def test_missing_external_data(tmp_path: Path) -> None:
    options = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    path = save(build_classifier(), tmp_path / "big.onnx", **options)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(MissingFileError, match=r"w\.bin"):
        read_onnx(path)


def test_external_data_outside_the_folder_are_refused(tmp_path: Path) -> None:
    model = build_classifier()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    with pytest.raises(InvalidModelError, match="beside the model"):
        read(model, tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_onnx(tmp_path / "none.onnx")


def test_empty_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.write_bytes(b"")
    with pytest.raises(InvalidModelError, match="not an ONNX model"):
        read_onnx(path)


@pytest.mark.parametrize("seed", range(30))
def test_noise_is_refused(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(random.Random(seed).randbytes(3000))
    with pytest.raises(InvalidModelError):
        read_onnx(path)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_read_or_raise_our_errors(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(build_classifier().SerializeToString())
    if seed % 2:
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data)
    try:
        graph = read_onnx(path)
    except (InvalidModelError, MissingFileError):
        return
    assert graph.outputs
