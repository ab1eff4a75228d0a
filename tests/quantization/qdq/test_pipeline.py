from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgevision.converters.onnx_cleanup import halve_weights
from edgevision.errors import (
    DataError,
    InvalidConfigError,
    InvalidModelError,
    UnsupportedOpError,
)
from edgevision.graph.contracts import read_contract
from edgevision.quantization.layers import Layer
from edgevision.quantization.quantize import quantize
from edgevision.quantization.restarts import RoundingTime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("scheme", ["int8", "int8-per-tensor"])
def test_a_qdq_file_with_the_contract(
    scheme: str, float_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "q.onnx"
    result = quantize(float_onnx, output, calibration=photos, scheme=scheme, mean=0, std=255)
    model = onnx.load(str(output))
    onnx.checker.check_model(model)
    names = [node.op_type for node in model.graph.node]
    assert "DequantizeLinear" in names
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert any(len(t.dims) == 4 for t in weights)
    assert read_contract(output) is not None
    assert result.num_images == 24
    assert result.sqnr_db is not None
    assert result.sqnr_db > 15
    assert output.stat().st_size > 0


def test_repairs_bring_the_network_closer(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    plain, repaired = (
        quantize(float_onnx, tmp_path / f"{name}.onnx", calibration=photos, steps=steps, mean=0)
        for name, steps in (("plain", []), ("repaired", None))
    )
    assert plain.repairs == ()
    names = [r.step for r in repaired.repairs]
    assert names == ["activation_equalization", "compensation", "rounding", "bias_correction"]
    assert plain.sqnr_db is not None
    assert repaired.sqnr_db is not None
    assert repaired.sqnr_db >= plain.sqnr_db


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "int16x8"}, "scheme=int16x8"),
        ({"steps": ["no_ops"]}, "steps=no_ops"),
        ({"ranges": "mse"}, "ranges=mse"),
        ({"min_agreement": 0.5, "lift": "int16"}, "lift=int16"),
        ({"min_agreement": 0.5, "budget_s": 9.0}, "budget=9"),
    ],
)
def test_what_is_for_tflite_only(
    options: dict[str, Any], message: str, float_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "q.onnx"
    with pytest.raises(UnsupportedOpError, match=message):
        quantize(float_onnx, output, calibration=photos, **options)
    assert not output.exists()


def test_rounding_may_take_its_time(
    float_onnx: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded = list[str]()
    take_time = RoundingTime.round

    def note(self: RoundingTime, layer: Layer) -> Layer:
        rounded.append(layer.name)
        return take_time(self, layer)

    monkeypatch.setattr(RoundingTime, "round", note)
    quantize(float_onnx, tmp_path / "once.onnx", calibration=photos)
    assert not rounded
    result = quantize(
        float_onnx,
        tmp_path / "timed.onnx",
        calibration=photos,
        steps=["-bias_correction"],
        rounding_seconds=60,
    )
    assert len(rounded) == len(set(rounded)) == len(result.layers)


def test_half_weights_are_read_as_float_ones(
    float_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    model = onnx.load(str(float_onnx))
    halve_weights(model)
    half = tmp_path / "half.onnx"
    onnx.save(model, str(half))
    result = quantize(half, tmp_path / "q.onnx", calibration=photos)
    assert result.sqnr_db is not None
    assert result.sqnr_db > 20


def test_other_formats_and_quantized_files_are_refused(
    float_onnx: Path, float_file: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfigError, match=r"\.onnx file as the float one"):
        quantize(float_onnx, tmp_path / "q.tflite", calibration=photos)
    with pytest.raises(InvalidConfigError, match=r"\.tflite file as the float one"):
        quantize(float_file, tmp_path / "q.onnx", calibration=photos)
    output = tmp_path / "q.onnx"
    quantize(float_onnx, output, calibration=photos)
    with pytest.raises(InvalidModelError, match="quantized already"):
        quantize(output, tmp_path / "again.onnx", calibration=photos)


def test_a_broken_image_is_named(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "broken.png").write_text("a text")
    with pytest.raises(DataError, match=r"broken\.png"):
        quantize(float_onnx, tmp_path / "q.onnx", calibration=folder)
    result = quantize(float_onnx, tmp_path / "q.onnx", calibration=folder, skip_broken=True)
    assert result.num_images == 24


def test_what_was_assumed_is_said(float_onnx: Path, photos: Path, tmp_path: Path) -> None:
    result = quantize(float_onnx, tmp_path / "q.onnx", calibration=photos, mean=0)
    (text,) = [text for text in result.warnings if "assumed the usual values" in text]
    assert "std" in text
    assert "mean" not in text
