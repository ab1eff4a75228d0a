from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier, build_detector, move_constants_behind

from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite import is_tflite, read_metadata, read_tflite
from edgevision.graph.tflite_schema import BUILTIN_NAMES, KINDS, TENSOR_TYPES
from edgevision.specs import ModelFormat, Quantization


def test_reads_the_structure_of_a_file(tiny_tflite: Path) -> None:
    graph = read_tflite(tiny_tflite)
    assert graph.name == "tiny"
    assert graph.format is ModelFormat.TFLITE
    assert graph.file_bytes == tiny_tflite.stat().st_size
    assert [op.name for op in graph.ops] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert [spec.shape for spec in graph.input_specs()] == [(1, 8, 8, 3)]
    assert [spec.shape for spec in graph.output_specs()] == [(1, 3)]
    assert all(type(d) is int for t in graph.tensors for d in t.shape)
    inputs, outputs = graph.signatures["serving_default"]
    assert inputs == {"image": graph.inputs[0]}
    assert outputs == {"scores": graph.outputs[0]}


def test_normalizes_attributes() -> None:
    conv, depthwise, mean, dense, softmax = read_tflite(build_classifier()).ops
    assert conv.attributes == {
        "kernel": (3, 3),
        "strides": (2, 2),
        "dilations": (1, 1),
        "padding": "same",
        "groups": 1,
        "activation": "relu6",
    }
    assert depthwise.attributes["groups"] == 4
    assert depthwise.attributes["depth_multiplier"] == 1
    assert "activation" not in depthwise.attributes
    assert mean.attributes == {"axes": (1, 2), "keep_dims": False, "reduction": "mean"}
    assert dense.attributes["keep_dims"] is False
    assert softmax.attributes == {"axis": -1, "beta": 1.0}


def test_constants_are_views_into_the_file(tiny_tflite: Path) -> None:
    weights = next(t for t in read_tflite(tiny_tflite).constants if t.name == "conv/kernel")
    expected = np.random.default_rng(0).normal(0, 0.5, (4, 3, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(weights.data, expected)
    assert weights.data is not None
    assert not weights.data.flags.owndata
    assert not weights.data.flags.writeable


def test_both_layouts_of_constants_read_the_same() -> None:
    inside = build_classifier()
    behind = move_constants_behind(inside)
    for a, b in zip(read_tflite(inside).constants, read_tflite(behind).constants, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_half_precision_weights_stay_behind_their_dequantize() -> None:
    graph = read_tflite(build_classifier(half=True))
    conv = next(op for op in graph.ops if op.kind is OpKind.CONV_2D)
    kernel = graph.tensors[conv.inputs[1]]
    assert not kernel.constant
    source = graph.ops[graph.producers[kernel.index]]
    assert source.kind is OpKind.DEQUANTIZE
    assert graph.tensors[source.inputs[0]].dtype == "float16"


def test_quantization_per_tensor_and_per_channel() -> None:
    editor = ModelEditor(create_empty_model())
    whole = Quantization((0.5,), (3,))
    channels = Quantization((0.5, 0.25), (0, 0), axis=3)
    editor.add_tensor("a", shape=(1,), dtype="int8", quantization=whole)
    editor.add_tensor("b", data=np.zeros((1, 1, 1, 2), np.int8), quantization=channels)
    graph = read_tflite(editor.to_bytes())
    assert [t.quantization for t in graph.tensors] == [whole, channels]


def test_dynamic_dimensions_custom_ops_and_absent_inputs() -> None:
    editor = ModelEditor(create_empty_model())
    a = editor.add_tensor("a", shape=(-1, 4, 4, 3))
    b = editor.add_tensor("b", shape=(-1, 4, 4, 3))
    editor.add_op("CUSTOM:Mine", [a, -1], [b], custom_options=b"\x01\x02")
    editor.set_inputs([a])
    editor.set_outputs([b])
    graph = read_tflite(editor.to_bytes())
    assert graph.input_specs()[0].shape == (-1, 4, 4, 3)
    assert graph.ops[0].name == "CUSTOM:Mine"
    assert graph.ops[0].kind is OpKind.CUSTOM
    assert graph.ops[0].inputs == (a, -1)
    assert graph.ops[0].attributes["custom_options"] == b"\x01\x02"
    detector = read_tflite(build_detector())
    assert detector.ops[0].kind is OpKind.DETECTION_POSTPROCESS


def test_every_subgraph_is_read() -> None:
    editor = ModelEditor(build_classifier())
    editor.model.subgraphs.append(
        editor.schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=b"body")
    )
    editor.add_tensor("inner", shape=(2, 2), subgraph=1)
    graph = read_tflite(editor.to_bytes())
    assert [sub.name for sub in graph.subgraphs] == ["body"]
    assert graph.subgraphs[0].tensors[0].shape == (2, 2)


def test_sparse_constants_do_not_stop_the_reader() -> None:
    editor = ModelEditor(build_classifier())
    tensor = editor.model.subgraphs[0].tensors[1]
    tensor.sparsity = editor.schema.SparsityParametersT(traversalOrder=[0, 1])
    graph = read_tflite(editor.to_bytes())
    assert graph.tensors[1].data is None


def test_names_follow_the_newest_schema() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    codes = {k: v for k, v in vars(schema.BuiltinOperator).items() if k.isupper()}
    assert [codes[name] for name in BUILTIN_NAMES] == list(range(len(BUILTIN_NAMES)))
    assert set(KINDS) <= set(BUILTIN_NAMES)
    types = {v: k.lower() for k, v in vars(schema.TensorType).items() if k.isupper()}
    assert {code: name for code, (name, _) in TENSOR_TYPES.items() if code in types} == {
        code: name for code, name in types.items() if code in TENSOR_TYPES
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello, this is a readme\n", "text file"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git-lfs"),
        (b"PK\x03\x04" + bytes(40), "zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), r"\.h5"),
        (bytes(range(200, 256)), "identifier TFL3"),
    ],
)
def test_says_what_a_foreign_file_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=message) as caught:
        read_tflite(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_tflite(tmp_path / "missing.tflite")
    with pytest.raises(InvalidModelError):
        read_tflite(tmp_path)


def test_wrong_constant_size_is_refused() -> None:
    editor = ModelEditor(build_classifier())
    tensor = next(t for t in editor.model.subgraphs[0].tensors if t.name == b"conv/kernel")
    tensor.shape = [4, 3, 3, 4]
    with pytest.raises(InvalidModelError, match="size that its shape"):
        read_tflite(editor.to_bytes())


def test_damaged_files_give_one_kind_of_error() -> None:
    rng = random.Random(7)
    models = [build_classifier(), build_detector(), move_constants_behind(build_classifier())]
    refused = 0
    for _ in range(1500):
        data = bytearray(rng.choice(models))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.choice([1, 1, 3, 20])):
            if data:
                data[rng.randrange(len(data))] = rng.choice([0, 1, 127, 128, 255])
        try:
            read_tflite(bytes(data))
        except InvalidModelError:
            refused += 1
    assert 0 < refused < 1500


def test_identifier() -> None:
    assert is_tflite(build_classifier())
    assert not is_tflite(b"")


def test_real_files(real_data: Path) -> None:
    for path in sorted(real_data.glob("models/*.tflite")):
        graph = read_tflite(path)
        assert graph.ops
        assert sum(t.size for t in graph.constants) > 200_000
    v1 = read_tflite(real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite")
    # One class more than the published 475,544, and of the four values that BatchNorm keeps for
    # each of its 2,736 channels only a bias is left.
    num_weights = sum(t.size for t in v1.constants if t.dtype == "float32")
    assert num_weights == 475_544 + (256 + 1) - 3 * 2_736
    metadata = read_metadata(
        (real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite").read_bytes()
    )
    assert list(metadata) == ["TFLITE_METADATA"]
