from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import tiny_onnx
from onnx import helper

import edgevision as ev
from edgevision.errors import InvalidModelError, MissingFileError, UnsupportedOpError


def test_a_file_of_ours(float_onnx: Path, int8_onnx: Path, photos: Path) -> None:
    diagnosis = ev.diagnose(float_onnx, int8_onnx, data=photos)
    assert diagnosis.unpaired == 0
    assert [layer.name for layer in diagnosis.layers] == ["r0", "c1", "p", "f", "scores"]
    first = diagnosis.layers[0].to_dict()
    assert first["local_sqnr_db"] > 25
    assert sum(first["noise_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert first["weights"]["bits"] == 8
    assert 1 < first["output"]["codes"] <= 256
    assert diagnosis.sqnr_db is not None
    assert diagnosis.sqnr_db > 15


def test_quantize_diagnoses_on_demand(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    result = ev.quantize(float_onnx, tmp_path / "o.onnx", calibration=photos, diagnose=True)
    assert result.diagnosis is not None
    assert result.diagnosis.unpaired == 0
    assert result.diagnosis.rescaled == 0
    assert result.to_dict()["diagnosis"]["verdict"] == result.diagnosis.verdict


def test_a_collapsed_layer_is_named(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    model = tiny_onnx.build_classifier()
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            values = tiny_onnx.numpy_helper.to_array(tensor).copy()
            values[0] *= 400  # with one scale for all, the others get hardly a step
            tensor.CopyFrom(tiny_onnx.numpy_helper.from_array(values, "w1"))
    source = tiny_onnx.save(model, tmp_path / "wide.onnx")
    options = {"calibration": photos, "scheme": "int8-per-tensor", "steps": []}
    result = ev.quantize(source, tmp_path / "o.onnx", diagnose=True, **options)
    assert result.diagnosis is not None
    assert "c1" in {finding.layer for finding in result.diagnosis.findings}


def test_what_is_refused(float_onnx: Path, int8_onnx: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="the second file is not quantized"):
        ev.diagnose(float_onnx, float_onnx, data=photos)
    with pytest.raises(InvalidModelError, match="quantized already"):
        ev.diagnose(int8_onnx, int8_onnx, data=photos)
    with pytest.raises(MissingFileError):
        ev.diagnose(float_onnx, tmp_path / "missing.onnx", data=photos)
    other = tiny_onnx.save(tiny_onnx.build_detector(), tmp_path / "other.onnx")
    with pytest.raises(InvalidModelError, match="different inputs"):
        ev.diagnose(other, int8_onnx, data=photos)
    joined = onnx.load(str(int8_onnx))
    joined.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    scale = ["p_scale", "p_zero_point"]
    names = ["p_QuantizeLinear_Output", *scale, *scale]
    node = helper.make_node("QLinearSigmoid", names, ["s"], "s", domain="com.microsoft")
    joined.graph.node.append(node)
    place = tiny_onnx.save(joined, tmp_path / "joined.onnx")
    with pytest.raises(UnsupportedOpError, match="QLinearSigmoid"):
        ev.diagnose(float_onnx, place, data=photos)
