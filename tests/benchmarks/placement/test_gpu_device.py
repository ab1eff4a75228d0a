"""Runs on the GPU that Vulkan offers; ``scripts/check_gpu`` brings one where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import build_classifier

from edgevision.benchmarks.benchmark import benchmark
from edgevision.benchmarks.placement.explain import explain
from edgevision.benchmarks.placement.gpu import place_ops
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.tflite import read_tflite

pytestmark = pytest.mark.usefixtures("gpu")

MODELS = Path(__file__).parents[2] / "runtime/models"


def test_a_whole_classifier_goes_to_the_gpu(tiny_tflite: Path, gpu) -> None:
    explanation = explain(tiny_tflite, device="gpu")
    assert all((op.placement, op.reason) == ("gpu", "") for op in explanation.ops)
    assert explanation.adapter.name == gpu.name


def test_suppression_of_boxes_has_its_reason() -> None:
    document = explain(MODELS / "boxes.tflite", device="gpu").to_dict()
    (left,) = (op for op in document["ops"] if op["placement"] == "cpu")
    assert left["op"] == "CUSTOM:TFLite_Detection_PostProcess"
    assert left["reason"] == "the GPU refuses it: a custom op"
    assert document["adapter"]["name"] in document["notes"][0]


def test_what_comes_after_a_refused_op_stays_behind(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(_append_squeeze(build_classifier()))
    rows = explain(path, device="gpu").ops
    assert [row.placement for row in rows][-2:] == ["cpu", "cpu"]
    assert "the GPU refuses it" in rows[-2].reason
    assert f"comes after {rows[-2].op}" in rows[-1].reason


def _append_squeeze(model: bytes) -> bytes:
    """Append an operation that the GPU does not know, and one that it does."""
    graph, editor = read_tflite(model), ModelEditor(model)
    num_classes = graph.tensors[graph.outputs[0]].shape[-1]
    middle, result = (editor.add_tensor(name, shape=(num_classes,)) for name in ("m", "r"))
    editor.add_op("SQUEEZE", [graph.outputs[0]], [middle], options=("SqueezeOptions", {}))
    editor.add_op("RELU", [middle], [result])
    editor.set_outputs([result])
    return editor.to_bytes()


@pytest.mark.parametrize("refused", [0, 1])
def test_the_group_that_is_taken_is_known_in_branches(tmp_path: Path, refused: int) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(_build_branches(refused))
    placed = place_ops(path)
    assert placed.certain
    assert placed.reasons[refused].startswith("the GPU refuses it")
    assert placed.report.delegated_ops == {0: 5, 1: 3}[refused]


def _build_branches(refused: int) -> bytes:
    """Two branches from one input, of three and two operations, and their sum."""
    editor = ModelEditor(create_empty_model())
    source = editor.add_tensor("x", shape=(1, 4))
    ends = []
    for length in (3, 2):
        tensor = source
        for position in range(length):
            squeezed = not ends and position == refused
            start, tensor = tensor, editor.add_tensor(f"{length}{position}", shape=(1, 4))
            if squeezed:  # nothing to squeeze, but refused all the same
                options = ("SqueezeOptions", {"squeezeDims": []})
                editor.add_op("SQUEEZE", [start], [tensor], options=options)
            else:
                editor.add_op("TANH", [start], [tensor])
        ends.append(tensor)
    result = editor.add_tensor("y", shape=(1, 4))
    editor.add_op("ADD", ends, [result], options=("AddOptions", {}))
    editor.set_inputs([source])
    editor.set_outputs([result])
    return editor.to_bytes()


def test_rows_tell_the_adapter(tiny_tflite: Path, gpu) -> None:
    (row,) = benchmark([tiny_tflite], devices=["gpu"], seconds=0.1, gpu_float32=True).rows
    document = row.to_dict()
    assert document["status"] == "ok"
    assert document["adapter"]["name"] == gpu.name
    assert document["adapter"]["precision"] == "float32"
    assert document["software"] is gpu.software
    assert (document["relative"] is None) is gpu.software
    assert document["delegated_ops"] == document["total_ops"]
    assert document["run_time_ms"]["first_ms"] > 0
