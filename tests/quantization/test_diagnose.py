from __future__ import annotations

from pathlib import Path

from edgevision.quantization.quantize import quantize


def test_layers_say_what_happened(float_file: Path, photos: Path, tmp_path: Path) -> None:
    result = quantize(float_file, tmp_path / "o.tflite", calibration=photos)
    layers = [layer.to_dict() for layer in result.layers]
    assert [layer["name"] for layer in layers] == ["convolved", "depthwise", "scores"]
    for layer in layers:
        assert layer["sqnr_db"] > 15
        assert layer["weight_range"][0] < 0 < layer["weight_range"][1]
        assert layer["clipped"] < 0.05
    int16 = quantize(float_file, tmp_path / "o.tflite", calibration=photos, scheme="int16x8")
    assert int16.layers[0].sqnr_db is not None
    assert int16.layers[0].sqnr_db >= layers[0]["sqnr_db"] - 1
