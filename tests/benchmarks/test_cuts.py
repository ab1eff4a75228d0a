from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.benchmarks.cuts import (
    CONSTANT,
    FUSED,
    build_chain,
    capture_values,
    cut_operations,
    draw_values,
    find_fused_paddings,
)
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.litert import LiteRtSession


def build_padded(*, exposed: bool = False) -> bytes:
    """PAD, then a convolution without padding of its own."""
    rng = np.random.default_rng(0)
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, 4, 4, 2))
    margins = editor.add_tensor("margins", data=np.int32([[0, 0], [1, 1], [1, 1], [0, 0]]))
    padded = editor.add_tensor("padded", shape=(1, 6, 6, 2))
    filters = editor.add_tensor("filters", data=rng.normal(size=(3, 3, 3, 2)).astype("f4"))
    bias = editor.add_tensor("bias", data=np.zeros(3, np.float32))
    result = editor.add_tensor("result", shape=(1, 4, 4, 3))
    editor.add_op("PAD", [image, margins], [padded])
    steps = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1}
    editor.add_op("CONV_2D", [padded, filters, bias], [result], options=("Conv2DOptions", steps))
    editor.set_inputs([image])
    editor.set_outputs([result, padded] if exposed else [result])
    return editor.to_bytes()


def write(model: bytes, folder: Path) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(model)
    return path


@pytest.mark.parametrize("half", [False, True])
def test_pieces_one_after_the_other_answer_as_the_whole(half: bool, tmp_path: Path) -> None:
    model = build_classifier(half=half)
    path = write(model, tmp_path)
    graph = read_tflite(model)
    pieces, notes = cut_operations(model, graph, [0] * len(graph.ops))
    values = draw_values(graph, graph.inputs)
    session = LiteRtSession(path, threads=1)
    (expected,) = session.run({session.inputs[0].name: values[graph.inputs[0]]}).values()
    for piece in pieces:
        part = LiteRtSession(write(piece.model, tmp_path), threads=1)
        feed = {s.name: values[i] for s, i in zip(part.inputs, piece.inputs, strict=True)}
        (values[graph.ops[piece.op].outputs[0]],) = part.run(feed).values()
    assert np.allclose(values[graph.outputs[0]], expected, atol=1e-6)
    assert len(pieces) + len(notes) == len(graph.ops)
    assert set(notes.values()) == ({CONSTANT} if half else set())


def test_values_are_those_of_a_run(tmp_path: Path) -> None:
    model = build_classifier()
    path, graph = write(model, tmp_path), read_tflite(model)
    values = capture_values(path, graph)
    assert values is not None
    session = LiteRtSession(path, threads=1)
    (expected,) = session.run({session.inputs[0].name: values[graph.inputs[0]]}).values()
    assert np.allclose(values[graph.outputs[0]], expected, atol=1e-6)
    assert all(op.outputs[0] in values for op in graph.ops)


def test_padding_is_cut_out_with_its_convolution(tmp_path: Path) -> None:
    model = build_padded()
    graph = read_tflite(model)
    pieces, notes = cut_operations(model, graph, [0, 0])
    assert notes == {0: FUSED}
    (piece,) = pieces
    assert (piece.op, piece.inputs) == (1, (graph.inputs[0],))
    part = LiteRtSession(write(piece.model, tmp_path), threads=1)
    assert part.inputs[0].shape == (1, 4, 4, 2)


@pytest.mark.parametrize(("partition_of", "exposed"), [((-1, 0), False), ((0, 0), True)])
def test_padding_that_others_need_stays_alone(partition_of: tuple[int, int], exposed: bool) -> None:
    graph = read_tflite(build_padded(exposed=exposed))
    assert find_fused_paddings(graph, partition_of) == frozenset()


def test_file_that_the_interpreter_refuses_has_no_values(tmp_path: Path) -> None:
    graph = read_tflite(build_classifier())
    assert capture_values(write(b"no model", tmp_path), graph) is None


def test_chain_is_as_long_as_asked() -> None:
    assert [op.name for op in read_tflite(build_chain(3)).ops] == ["CONV_2D"] * 3
