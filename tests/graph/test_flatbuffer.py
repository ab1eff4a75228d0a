from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier, move_constants_behind, run_model

from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.flatbuffer import (
    ModelEditor,
    add_metadata,
    append_files,
    create_empty_model,
    extract_outputs,
    extract_part,
    read_files,
    replace_constants,
    set_quantization,
)
from edgevision.graph.flatbuffer_cleanup import sort_operators
from edgevision.graph.tflite import locate_buffers, open_model, read_metadata, read_tflite
from edgevision.specs import Quantization


def find_tensor(model: bytes, name: str) -> int:
    return next(t.index for t in read_tflite(model).tensors if t.name == name)


def test_replacing_constants_patches_in_place() -> None:
    model = build_classifier()
    bias = find_tensor(model, "dense/bias")
    values = np.array([1, 2, 3], np.float32)
    patched = replace_constants(bytearray(model), {bias: values})
    assert len(patched) == len(model)
    np.testing.assert_array_equal(read_tflite(patched).tensors[bias].data, values)
    assert sum(a != b for a, b in zip(model, patched, strict=True)) <= values.nbytes
    probabilities = run_model(patched)[0]
    assert not np.allclose(probabilities, run_model(model)[0])


def test_replacing_constants_behind_the_flatbuffer() -> None:
    model = move_constants_behind(build_classifier())
    bias = find_tensor(model, "dense/bias")
    patched = replace_constants(model, {bias: np.zeros(3, np.float32)})
    assert len(patched) == len(model)
    assert not read_tflite(patched).tensors[bias].data.any()


def test_replacing_a_shared_constant_leaves_its_sharer_alone() -> None:
    editor = ModelEditor(build_classifier())
    tensors = editor.model.subgraphs[0].tensors
    names = [bytes(t.name) for t in tensors]
    conv, depthwise = names.index(b"conv/bias"), names.index(b"depthwise/bias")
    tensors[depthwise].buffer = tensors[conv].buffer
    model = editor.to_bytes()
    kept = read_tflite(model).tensors[depthwise].data
    patched = read_tflite(replace_constants(model, {conv: np.zeros(4, np.float32)}))
    np.testing.assert_array_equal(patched.tensors[conv].data, np.zeros(4))
    np.testing.assert_array_equal(patched.tensors[depthwise].data, kept)


@pytest.mark.parametrize(
    ("tensor", "values", "message"),
    [
        ("dense/bias", np.zeros(4, np.float32), "shape and type"),
        ("dense/bias", np.zeros(3, np.float64), "shape and type"),
        ("pooled", np.zeros((1, 4), np.float32), "no dense constant"),
    ],
)
def test_replacing_refuses_what_does_not_fit(tensor: str, values: np.ndarray, message: str) -> None:
    model = build_classifier()
    with pytest.raises(InvalidConfigError, match=message):
        replace_constants(model, {find_tensor(model, tensor): values})
    with pytest.raises(InvalidConfigError, match="no such tensor"):
        replace_constants(model, {99: values})
    with pytest.raises(InvalidConfigError, match="no such subgraph"):
        replace_constants(model, {0: values}, subgraph=1)


def test_packing_moves_constants_inside_and_aligns_them() -> None:
    model = move_constants_behind(build_classifier(half=True))
    packed = ModelEditor(model).to_bytes()
    root = open_model(packed)
    assert all(buffer.scalar(1, "Q", 0) == 0 for buffer in root.tables(4))
    assert all(start % 16 == 0 for start, num_bytes in locate_buffers(root) if num_bytes)
    np.testing.assert_array_equal(run_model(packed)[0], run_model(model)[0])
    assert ModelEditor(packed).to_bytes() == packed


def test_metadata_and_files_are_replaced_never_doubled() -> None:
    model = add_metadata(build_classifier(), {"a": b"1", "b": b"2"}, files={"x.txt": b"x"})
    again = add_metadata(model, {"a": b"3"})
    assert read_metadata(again) == {"a": b"3", "b": b"2"}
    assert read_files(again) == {"x.txt": b"x"}
    other = append_files(again, {"y.txt": b"y"})
    assert read_files(other) == {"y.txt": b"y"}
    assert other.count(b"PK\x05\x06") == 1
    assert read_files(append_files(other, {})) == {}
    np.testing.assert_array_equal(run_model(other)[0], run_model(build_classifier())[0])


def test_files_appended_by_other_tools_are_found() -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "a\nb\n")
    model = build_classifier() + stream.getvalue()
    assert read_files(model) == {"labels.txt": b"a\nb\n"}
    kept = set_quantization(model, {})
    assert read_files(kept) == {"labels.txt": b"a\nb\n"}
    assert kept.count(b"PK\x05\x06") == 1


def test_damaged_archive_is_an_error() -> None:
    model = bytearray(append_files(build_classifier(), {"labels.txt": b"aaaaaaaa"}))
    position = model.index(b"aaaaaaaa")
    model[position] = ord("b")
    with pytest.raises(InvalidModelError, match="damaged"):
        read_files(bytes(model))


def test_set_quantization() -> None:
    model = build_classifier()
    parameters = Quantization((0.5,), (7,))
    image = read_tflite(model).inputs[0]
    changed = set_quantization(model, {image: parameters})
    assert read_tflite(changed).tensors[image].quantization == parameters
    assert read_tflite(set_quantization(changed, {image: None})).tensors[image].quantization is None


def test_extracted_outputs_agree_with_the_whole() -> None:
    model = build_classifier()
    inner = [find_tensor(model, "pooled"), *read_tflite(model).outputs]
    exposed = extract_outputs(model, inner)
    graph = read_tflite(exposed)
    assert list(graph.outputs) == inner
    assert graph.signatures == {}
    pooled, scores = run_model(exposed)
    assert pooled.shape == (1, 4)
    np.testing.assert_array_equal(scores, run_model(model)[0])
    with pytest.raises(InvalidConfigError, match="no such tensor"):
        extract_outputs(model, [99])


def test_cut_part_is_a_model_of_its_own() -> None:
    model = add_metadata(build_classifier(), {"a": b"1"}, files={"x.txt": b"x"})
    start, end = find_tensor(model, "convolved"), find_tensor(model, "pooled")
    part = extract_part(model, [start], [end])
    graph = read_tflite(part)
    assert [op.name for op in graph.ops] == ["DEPTHWISE_CONV_2D", "MEAN"]
    assert sorted(t.name for t in graph.constants) == ["axes", "depthwise/bias", "depthwise/kernel"]
    assert len(part) < len(model)
    assert run_model(part)[0].shape == (1, 4)
    with pytest.raises(InvalidConfigError, match="further inputs"):
        extract_part(model, [end], [start])


def test_inserted_operations_are_ordered_and_run() -> None:
    model = build_classifier(softmax=False)
    editor = ModelEditor(model)
    scores = int(editor.model.subgraphs[0].outputs[0])
    negative = editor.add_tensor("negative", shape=(1, 3))
    twice = editor.add_tensor("twice", shape=(1, 3))
    # Written before what it reads: packing brings it behind.
    editor.add_op("NEG", [twice], [negative], options=("NegOptions", {}), position=0)
    editor.add_op("ADD", [scores, scores], [twice], options=("AddOptions", {}))
    editor.set_outputs([negative])
    editor.set_signature("negate", inputs={"image": 0}, outputs={"negative": negative})
    changed = editor.to_bytes()
    assert [op.name for op in read_tflite(changed).ops][-2:] == ["ADD", "NEG"]
    assert list(read_tflite(changed).signatures) == ["negate"]
    np.testing.assert_allclose(run_model(changed)[0], -2 * run_model(model)[0], rtol=1e-6)


def test_operations_can_be_replaced() -> None:
    model = build_classifier()
    editor = ModelEditor(model)
    graph = read_tflite(model)
    softmax = graph.ops[-1]
    editor.remove_ops([softmax.index])
    editor.rewire(softmax.outputs[0], softmax.inputs[0])
    editor.remove_unused()
    changed = editor.to_bytes()
    assert [op.name for op in read_tflite(changed).ops][-1] == "FULLY_CONNECTED"
    assert "SOFTMAX" not in str([c.customCode for c in editor.model.operatorCodes])
    np.testing.assert_allclose(
        run_model(changed)[0], run_model(build_classifier(softmax=False))[0], rtol=1e-6
    )
    assert "probabilities" not in [t.name for t in read_tflite(changed).tensors]


def test_opcodes_are_shared_by_name_and_version() -> None:
    editor = ModelEditor(create_empty_model())
    first = editor.add_opcode("CONV_2D", version=3)
    assert editor.add_opcode("CONV_2D", version=3) == first
    assert editor.add_opcode("CONV_2D", version=1) != first
    custom = editor.add_opcode("CUSTOM:a")
    assert editor.add_opcode("CUSTOM:a") == custom
    assert editor.add_opcode("CUSTOM:b") != custom
    new = editor.add_opcode("GELU")
    assert editor.model.operatorCodes[new].deprecatedBuiltinCode == 127
    with pytest.raises(InvalidConfigError, match="no such operation"):
        editor.add_opcode("CONV2D")
    with pytest.raises(InvalidConfigError, match="no such options table"):
        editor.add_op("ADD", [], [], options=("Nothing", {}))
    with pytest.raises(InvalidConfigError, match="no such field"):
        editor.add_op("ADD", [], [], options=("AddOptions", {"nothing": 1}))


def test_circles_are_refused() -> None:
    editor = ModelEditor(create_empty_model())
    a, b = (editor.add_tensor(name, shape=(1,)) for name in "ab")
    editor.add_op("NEG", [a], [b])
    editor.add_op("NEG", [b], [a])
    with pytest.raises(InvalidModelError, match="circle"):
        editor.to_bytes()


def test_a_valid_order_is_kept() -> None:
    editor = ModelEditor(build_classifier(half=True))
    operators = editor.model.subgraphs[0].operators
    assert sort_operators(operators) == operators


def test_damaged_models_are_not_unpacked() -> None:
    with pytest.raises(InvalidModelError):
        ModelEditor(build_classifier()[:500])


def test_real_files_survive_packing(real_data: Path) -> None:
    path = real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    model = path.read_bytes()
    packed = add_metadata(model, {"note": b"1"})
    assert read_files(packed).keys() == {"labels.txt"}
    np.testing.assert_array_equal(run_model(packed)[0], run_model(model)[0])
