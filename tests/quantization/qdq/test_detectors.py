from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_onnx
from PIL import Image
from tiny_detectors import CONTRACT, DETECTION

from edgevision.converters.onnx_endings import append_argmax, append_nms, detach_ending
from edgevision.errors import QualityGateError
from edgevision.graph.contracts import attach_onnx_contract, read_contract
from edgevision.graph.detection_heads import RAW_HEADS, RESULTS
from edgevision.quantization.qdq import pipeline
from edgevision.quantization.qdq.source import open_onnx
from edgevision.quantization.quantize import quantize
from edgevision.runtime.load import load
from edgevision.specs import ScoreKind


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(24):
        low = rng.integers(0, 128, 3)
        pixels = rng.integers(low, low + 128, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


def write_detector(path: Path, *, suppresses: bool, foreign: bool = False) -> Path:
    model = tiny_onnx.build_detector().SerializeToString()
    if suppresses:
        model = append_nms(model, DETECTION)
    if foreign:
        model = disguise(model)
    path.write_bytes(attach_onnx_contract(model, CONTRACT))
    return path


def disguise(model: bytes) -> bytes:
    """Let an ending look as another tool's: nodes and heads have other names."""
    proto = onnx.load_model_from_string(model)
    for node in proto.graph.node:
        node.name = node.name.replace("ending_", "post_")
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = f"{name}_raw" if name in RAW_HEADS else name
    return bytes(proto.SerializeToString())


def read_integers(model: Any) -> set[str]:
    """Return the types of nodes that read or write what has a scale."""
    scaled = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    constants = {t.name for t in model.graph.initializer}
    read = {
        name
        for node in model.graph.node
        for name in node.input
        if name in scaled and node.op_type != "QuantizeLinear"
    }
    kinds = {n.op_type for n in model.graph.node if read.intersection(n.input)}
    return kinds - {"DequantizeLinear"} - constants


def test_a_detector_suppresses_boxes_in_float_behind_integer_heads(
    pictures: Path, tmp_path: Path
) -> None:
    source = write_detector(tmp_path / "float.onnx", suppresses=True)

    result = quantize(source, tmp_path / "int8.onnx", calibration=pictures)

    model = onnx.load(str(result.output))
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == list(RESULTS)
    assert read_contract(result.output) == CONTRACT
    own = [n for n in model.graph.node if n.name.startswith("ending_")]
    assert "NonMaxSuppression" in {n.op_type for n in own}
    assert not {"QuantizeLinear", "DequantizeLinear"} & {n.op_type for n in own}
    scales = {name: read_scale(model, name) for name in RAW_HEADS}
    assert scales["class_scores"] == (pytest.approx(1 / 256), 0)
    assert scales["box_encodings"][0] != scales["class_scores"][0]
    document = result.to_dict()
    assert {row["name"] for row in document["outputs"]} == set(RAW_HEADS)
    assert all(row["sqnr_db"] > 15 for row in document["outputs"])
    assert document["agreement"] > 0.8
    assert len(document["layers"]) == 6
    assert result.warnings == ()


def read_scale(model: Any, tensor: str) -> tuple[float, int]:
    """Return the scale and zero point behind a tensor that a DequantizeLinear gives."""
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    (node,) = [n for n in model.graph.node if tensor in n.output]
    assert node.op_type == "DequantizeLinear"
    return float(values[node.input[1]]), int(values[node.input[2]])


def test_both_endings_find_the_same(pictures: Path, tmp_path: Path) -> None:
    files = []
    for name, suppresses in (("boxes", True), ("raw", False)):
        source = write_detector(tmp_path / f"{name}.onnx", suppresses=suppresses)
        files.append(quantize(source, tmp_path / f"{name}_int8.onnx", calibration=pictures).output)

    image = sorted(pictures.iterdir())[0]
    first, second = (load(file).predict(image, threshold=0.0) for file in files)

    assert len(first) == len(second) > 3
    np.testing.assert_allclose(np.sort(first.scores), np.sort(second.scores), atol=1e-6)


def test_limits_can_be_stated_while_quantizing(pictures: Path, tmp_path: Path) -> None:
    source = write_detector(tmp_path / "float.onnx", suppresses=True)

    result = quantize(source, tmp_path / "q.onnx", calibration=pictures, max_detections=3)

    contract = read_contract(result.output)
    assert contract is not None
    assert contract.detection == replace(DETECTION, max_detections=3)
    boxes = onnx.load(str(result.output)).graph.output[0]
    assert [d.dim_value for d in boxes.type.tensor_type.shape.dim] == [1, 3, 4]


def test_logits_are_scored_as_the_float_file_does(pictures: Path, tmp_path: Path) -> None:
    contract = replace(CONTRACT, scores=ScoreKind.LOGITS)
    body = tiny_onnx.build_detector(logits=True).SerializeToString()
    source = tmp_path / "float.onnx"
    finished = append_nms(body, DETECTION, logits=True)
    source.write_bytes(
        attach_onnx_contract(finished, replace(contract, scores=ScoreKind.PROBABILITIES))
    )
    result = quantize(source, tmp_path / "int8.onnx", calibration=pictures)
    image = sorted(pictures.iterdir())[0]
    before, after = (load(file).predict(image) for file in (source, result.output))
    assert len(before) > 0
    assert abs(before.scores.max() - after.scores.max()) < 0.05


def test_an_ending_of_another_tool_stays_in_float(pictures: Path, tmp_path: Path) -> None:
    source = write_detector(tmp_path / "float.onnx", suppresses=True, foreign=True)

    result = quantize(source, tmp_path / "int8.onnx", calibration=pictures)

    opened = open_onnx(source, {})
    assert {op.name for op in opened.tail} >= {"NonMaxSuppression", "Sigmoid", "Concat", "Exp"}
    assert set(opened.outputs) == {"boxes_0", "scores_0", "boxes_1", "scores_1"}
    model = onnx.load(str(result.output))
    assert read_integers(model) == {"Conv", "Transpose"}
    assert result.agreement is None
    assert [row.name for row in result.outputs] == opened.outputs
    image = sorted(pictures.iterdir())[0]
    before, after = (load(file).predict(image) for file in (source, result.output))
    assert abs(before.scores.max() - after.scores.max()) < 0.05


def test_a_collapsed_detector_is_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_detector(tmp_path / "float.onnx", suppresses=True)
    output = tmp_path / "int8.onnx"
    monkeypatch.setattr(pipeline, "make_integer", make_silent)

    with pytest.raises(QualityGateError, match="of the float model's boxes"):
        quantize(source, output, calibration=pictures, steps=[])
    assert not output.exists()

    result = quantize(source, output, calibration=pictures, steps=[], min_agreement=0)
    assert result.agreement == 0.0
    assert output.exists()


def make_silent(_source: Any, network: Any, _scheme: Any) -> Any:
    """Return a network that sees nothing anywhere."""
    model = type(network.model)()
    model.CopyFrom(network.model)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("scores") and tensor.name.endswith((".w", ".b")):
            values = onnx.numpy_helper.to_array(tensor)
            fill = 0 if tensor.name.endswith(".w") else -20
            silent = np.full_like(values, fill)
            tensor.CopyFrom(onnx.numpy_helper.from_array(silent, tensor.name))
    return model


@pytest.mark.parametrize("argmax", [False, True])
@pytest.mark.parametrize("foreign", [False, True])
def test_a_segmenter_keeps_what_it_answers(
    pictures: Path, tmp_path: Path, argmax: bool, foreign: bool
) -> None:
    model = tiny_onnx.build_segmenter().SerializeToString()
    model = append_argmax(model, 1) if argmax else model
    source = tmp_path / "float.onnx"
    source.write_bytes(disguise(model) if foreign else model)

    result = quantize(source, tmp_path / "int8.onnx", calibration=pictures)

    quantized = onnx.load(str(result.output))
    (output,) = quantized.graph.output
    kind = onnx.TensorProto.INT64 if argmax else onnx.TensorProto.FLOAT
    assert output.type.tensor_type.elem_type == kind
    assert result.agreement is not None
    assert result.agreement > 0.9
    if argmax and not foreign:
        detach_ending(result.output.read_bytes())
