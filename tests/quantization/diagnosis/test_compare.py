from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier

import edgevision as ev
from edgevision.cli.app import run
from edgevision.errors import InvalidModelError, MissingFileError, UnsupportedOpError
from edgevision.quantization.diagnosis.diagnosis import MAX_IMAGES

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def int8_file(float_file: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / "int8.tflite"
    ev.quantize(float_file, path, calibration=photos, cache=False)
    return path


def test_a_file_of_ours(float_file: Path, int8_file: Path, photos: Path) -> None:
    diagnosis = ev.diagnose(float_file, int8_file, data=photos)
    assert diagnosis.images == MAX_IMAGES
    assert diagnosis.unpaired == 0
    document = diagnosis.to_dict()
    assert json.loads(json.dumps(document)) == document
    names = [layer["name"] for layer in document["layers"]]
    assert names == ["convolved", "depthwise", "pooled", "scores", "probabilities"]
    first = document["layers"][0]
    assert first["local_sqnr_db"] > 25
    assert sum(first["noise_shares"].values()) == pytest.approx(1, abs=1e-3)
    assert 1 < first["output"]["codes"] <= 256
    assert first["weights"]["bits"] == 8
    assert document["layers"][2]["weights"] is None


def test_quantize_diagnoses_on_demand(float_file: Path, photos: Path, tmp_path: Path) -> None:
    options = {"calibration": photos, "cache": False}
    result = ev.quantize(float_file, tmp_path / "o.tflite", diagnose=True, **options)
    assert result.diagnosis is not None
    assert result.diagnosis.unpaired == 0
    assert result.to_dict()["diagnosis"]["verdict"] == result.diagnosis.verdict
    plain = ev.quantize(float_file, tmp_path / "p.tflite", **options)
    assert plain.to_dict()["diagnosis"] is None
    assert (tmp_path / "o.tflite").read_bytes() == (tmp_path / "p.tflite").read_bytes()


@pytest.mark.parametrize("scheme", ["int8-per-tensor", "int16x8", "dynamic", "float16"])
def test_every_scheme(scheme: str, float_file: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.tflite"
    ev.quantize(float_file, output, calibration=photos, scheme=scheme, cache=False)
    diagnosis = ev.diagnose(float_file, output, data=photos, limit=4)
    assert diagnosis.images == 4
    assert len(diagnosis.layers) == 5
    assert diagnosis.unpaired == 0
    assert diagnosis.sound
    assert bool(diagnosis.float_ops) == (scheme in ("dynamic", "float16"))


def test_what_is_refused(float_file: Path, int8_file: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="the second file is not quantized"):
        ev.diagnose(float_file, float_file, data=photos)
    with pytest.raises(InvalidModelError, match="quantized already"):
        ev.diagnose(int8_file, int8_file, data=photos)
    with pytest.raises(MissingFileError):
        ev.diagnose(float_file, tmp_path / "missing.tflite", data=photos)
    onnx = tmp_path / "m.onnx"
    onnx.write_bytes(b"")
    with pytest.raises(InvalidModelError, match="have one format"):
        ev.diagnose(float_file, onnx, data=photos)
    keras = tmp_path / "m.keras"
    keras.write_bytes(b"")
    with pytest.raises(UnsupportedOpError, match=r"only \.tflite and \.onnx files are diagnosed"):
        ev.diagnose(keras, int8_file, data=photos)
    other = tmp_path / "other.tflite"
    other.write_bytes(build_classifier(num_classes=4, size=16, seed=3))
    with pytest.raises(InvalidModelError, match="different inputs"):
        ev.diagnose(other, int8_file, data=photos)


def test_a_diagnosis_needs_images(float_file: Path, tmp_path: Path, capsys: Captured) -> None:
    output = tmp_path / "o.tflite"
    arguments = ["quantize", str(float_file), "-o", str(output), "--scheme", "dynamic"]
    assert run([*arguments, "--diagnose"]) == 2
    assert "a diagnosis needs calibration images" in capsys.readouterr().err
    assert not output.exists()


def test_the_command_prints_and_writes_a_page(
    float_file: Path, int8_file: Path, photos: Path, tmp_path: Path, capsys: Captured
) -> None:
    arguments = ["diagnose", str(float_file), str(int8_file), "--data", str(photos), "--limit", "3"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "worst layers" in shown
    assert "convolved" in shown
    assert run([*arguments, "--report", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["report"] == str(tmp_path / "diagnosis.html")
    assert "convolved" in (tmp_path / "diagnosis.html").read_text()


def test_quantize_writes_the_page(
    float_file: Path, photos: Path, tmp_path: Path, capsys: Captured
) -> None:
    arguments = ["quantize", str(float_file), "-o", str(tmp_path / "o.tflite"), "--no-cache"]
    assert run([*arguments, "--calibration", str(photos), "--report", str(tmp_path / "r")]) == 0
    assert f"report: {tmp_path / 'r' / 'diagnosis.html'}" in capsys.readouterr().out
    assert "Diagnosis of o.tflite" in (tmp_path / "r" / "diagnosis.html").read_text()


def test_images_of_one_colour(float_file: Path, int8_file: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((12, 12, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    diagnosis = ev.diagnose(float_file, int8_file, data=tmp_path)
    assert diagnosis.images == 1


def test_a_real_network_that_collapses(real_data: Path, tmp_path: Path) -> None:
    model = real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    options = {"calibration": real_data / "imagenet/calibration", "limit": 20, "diagnose": True}
    collapsed = ev.quantize(
        model, tmp_path / "a.tflite", scheme="int8-per-tensor", steps=[], **options
    ).diagnosis
    assert collapsed is not None
    assert not collapsed.sound
    worst = collapsed.findings[0]
    assert worst.layer == "MobilenetV1/Conv2d_2_depthwise"
    assert worst.cause == "dead_weights"
    repaired = ev.quantize(model, tmp_path / "b.tflite", **options).diagnosis
    assert repaired is not None
    assert repaired.verdict.startswith("healthy")
    # The same file beside the network as it was before its channels were equalized.
    compared = ev.diagnose(model, tmp_path / "b.tflite", data=options["calibration"])
    assert compared.rescaled > 20
    assert compared.sqnr_db is not None
    assert compared.sqnr_db > 15
