from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import build_classifier, move_constants_behind

from edgevision.errors import UnsupportedOpError
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.tflite import open_model, read_tflite
from edgevision.quantization.edgetpu import check_edgetpu
from edgevision.quantization.quantize import quantize


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.tflite"


def add_hard_swish(model: bytes, position: int) -> bytes:
    """Put a hard swish behind an operation."""
    graph = read_tflite(model)
    editor = ModelEditor(model)
    before = graph.tensors[graph.ops[position].outputs[0]]
    after = editor.add_tensor("swished", shape=before.shape)
    editor.rewire(before.index, after)
    editor.add_op("HARD_SWISH", [before.index], [after], position=position + 1)
    return editor.to_bytes()


def test_a_plain_network_is_taken_whole(float_file: Path, photos: Path, output: Path) -> None:
    result = quantize(float_file, output, calibration=photos, scheme="edgetpu")
    graph = read_tflite(output)
    assert not any("Edge TPU" in text for text in result.warnings)
    assert graph.input_specs()[0].dtype == graph.output_specs()[0].dtype == "int8"
    scales = {
        op.name: len(quantization.scales)
        for op in graph.ops
        if len(op.inputs) > 1 and (quantization := graph.tensors[op.inputs[1]].quantization)
    }
    assert scales == {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 4, "FULLY_CONNECTED": 1}


def test_constants_lie_inside_the_flatbuffer(float_file: Path, photos: Path, output: Path) -> None:
    quantize(float_file, output, calibration=photos, scheme="edgetpu")
    # Compilers of 2021 know no constants behind it.
    data = output.read_bytes()
    assert list_offsets(data) == [0] * len(list_offsets(data))
    assert any(list_offsets(move_constants_behind(data)))


def list_offsets(model: bytes) -> list[int]:
    """Where the buffers lie behind the flatbuffer; 0 for those inside."""
    return [buffer.scalar(1, "Q", 0) for buffer in open_model(model).tables(4)]


def test_what_stays_on_the_cpu_is_told(photos: Path, tmp_path: Path, output: Path) -> None:
    source = tmp_path / "swish.tflite"
    source.write_bytes(add_hard_swish(build_classifier(size=12), 1))
    # The hard swish is kept: no step may rewrite it here.
    result = quantize(source, output, calibration=photos, scheme="edgetpu", steps=[])
    whole, cause = [text for text in result.warnings if "CPU" in text]
    assert whole.startswith("the Edge TPU would take 2 of 6 operations")
    assert "1 HARD_SWISH, first 'swished'" in cause


def test_nothing_to_map_is_refused(float_file: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "dynamic.tflite"
    quantize(float_file, quantized, scheme="dynamic")
    with pytest.raises(UnsupportedOpError, match=r"would run no layer.*float32"):
        check_edgetpu(quantized.read_bytes())


def test_a_refused_first_operation_costs_only_itself(
    photos: Path, tmp_path: Path, output: Path
) -> None:
    source = tmp_path / "first.tflite"
    source.write_bytes(swish_the_input(build_classifier(size=12)))
    result = quantize(source, output, calibration=photos, scheme="edgetpu", steps=[])
    whole, cause = [text for text in result.warnings if "CPU" in text]
    assert whole.startswith("the Edge TPU would take 5 of 6 operations")
    assert "1 HARD_SWISH, first 'swished'" in cause


def swish_the_input(model: bytes) -> bytes:
    graph = read_tflite(model)
    editor = ModelEditor(model)
    image = graph.tensors[graph.inputs[0]]
    after = editor.add_tensor("swished", shape=image.shape)
    for op in editor.model.subgraphs[0].operators:
        op.inputs = [after if i == image.index else int(i) for i in op.inputs]
    editor.add_op("HARD_SWISH", [image.index], [after], position=0)
    return editor.to_bytes()


def test_repairs_bring_it_closer(float_file: Path, photos: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "plain.tflite", tmp_path / "repaired.tflite"]
    plain, repaired = (
        quantize(float_file, output, calibration=photos, scheme="edgetpu", steps=steps)
        for output, steps in zip(outputs, ([], None), strict=True)
    )
    assert plain.sqnr_db is not None
    assert repaired.sqnr_db is not None
    assert repaired.sqnr_db >= plain.sqnr_db
