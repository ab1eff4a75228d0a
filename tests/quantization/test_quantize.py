from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_models import build_classifier, build_detector

from edgevision.cli.app import run as run_command
from edgevision.errors import (
    CalibrationError,
    DataError,
    InvalidConfigError,
    InvalidModelError,
    MissingFileError,
    OutputError,
    QualityGateError,
    UnsupportedOpError,
)
from edgevision.graph.contracts import read_contract
from edgevision.graph.flatbuffer import ModelEditor, replace_constants
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.quantize import quantize
from edgevision.specs import Quantization, ResizeRule


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.tflite"


def run(path: Path) -> np.ndarray:
    from edgevision.runtime.load import load

    classifier = load(path)
    rng = np.random.default_rng(9)
    images = [rng.integers(0, 255, (12, 12, 3)).astype(np.uint8) for _ in range(8)]
    return np.stack([classifier.scores(image) for image in images])


@pytest.mark.parametrize(
    ("scheme", "dtypes"),
    [
        ("int8", ("int8", "int8")),
        ("int8-per-tensor", ("int8", "int8")),
        ("int16x8", ("int16", "int8")),
        ("dynamic", ("float32", "int8")),
        ("float16", ("float32", "float16")),
        ("edgetpu", ("int8", "int8")),
    ],
)
def test_schemes(
    scheme: str, dtypes: tuple[str, str], float_file: Path, photos: Path, output: Path
) -> None:
    result = quantize(float_file, output, calibration=photos, scheme=scheme)
    graph = read_tflite(output)
    assert graph.input_specs()[0].dtype == dtypes[0]
    kernel = next(t for t in graph.constants if t.shape == (4, 3, 3, 3))
    assert kernel.dtype == dtypes[1]
    assert np.abs(run(output) - run(float_file)).max() < 0.1
    document = result.to_dict()
    assert document["scheme"] == scheme
    assert {"output", "scheme", "seconds", "sqnr_db", "layers", "repairs"} <= set(document)
    assert document["sqnr_db"] > 10


def test_rounding_takes_its_time(float_file: Path, photos: Path, output: Path) -> None:
    options = {"calibration": photos, "scheme": "int16x8"}
    once = quantize(float_file, output, **options)
    first = output.read_bytes()
    timed = quantize(float_file, output, **options, rounding_seconds=60)
    assert output.read_bytes() != first
    assert [r.step for r in timed.repairs] == [r.step for r in once.repairs]
    assert once.sqnr_db is not None
    assert timed.sqnr_db is not None
    assert timed.sqnr_db > once.sqnr_db - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounding_seconds": 0}, "seconds above 0"),
        ({"rounding_seconds": 5, "scheme": "float16"}, "the step rounding"),
        ({"rounding_seconds": 5, "steps": ["bias_correction"]}, "the step rounding"),
        ({"rounding_seconds": 5, "scheme": "dynamic", "calibration": None}, "the step rounding"),
    ],
)
def test_time_without_rounding_is_refused(
    options: dict[str, Any], message: str, float_file: Path, photos: Path, output: Path
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        quantize(float_file, output, **{"calibration": photos, **options})
    assert not output.exists()


def test_per_tensor_has_one_scale(float_file: Path, photos: Path, output: Path) -> None:
    counts = {}
    for scheme in ("int8", "int8-per-tensor"):
        quantize(float_file, output, calibration=photos, scheme=scheme)
        graph = read_tflite(output)
        weights = graph.tensors[graph.ops[0].inputs[1]]
        assert weights.quantization is not None
        counts[scheme] = len(weights.quantization.scales)
    assert counts == {"int8": 4, "int8-per-tensor": 1}


def test_softmax_output_has_the_standard_scale(
    float_file: Path, photos: Path, output: Path
) -> None:
    quantize(float_file, output, calibration=photos)
    spec = read_tflite(output).output_specs()[0]
    assert spec.quantization is not None
    assert spec.quantization.scales == (1 / 256,)
    assert spec.quantization.zero_points == (-128,)


def test_reports_layers_and_repairs(float_file: Path, photos: Path, output: Path) -> None:
    result = quantize(float_file, output, calibration=photos)
    assert [layer.op for layer in result.layers] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
    ]
    steps = [repair.step for repair in result.repairs]
    assert {"rounding", "bias_correction"} <= set(steps) or not steps
    assert result.num_images == 24


def test_steps_can_be_switched_off(float_file: Path, photos: Path, output: Path) -> None:
    result = quantize(float_file, output, calibration=photos, steps=[])
    assert result.repairs == ()
    only = quantize(float_file, output, calibration=photos, steps=["bias_correction"])
    assert {repair.step for repair in only.repairs} <= {"bias_correction"}


def test_dynamic_leaves_depthwise_layers_in_float(
    float_file: Path, photos: Path, output: Path
) -> None:
    result = quantize(float_file, output, calibration=photos, scheme="dynamic")
    graph = read_tflite(output)
    dtypes = [graph.tensors[op.inputs[1]].dtype for op in graph.ops[:2]]
    assert dtypes == ["int8", "float32"]
    assert [layer.repaired for layer in result.layers][1] is False
    quantize(float_file, output, scheme="dynamic")
    assert read_tflite(output).input_specs()[0].dtype == "float32"


def test_contract_is_kept(float_file: Path, photos: Path, output: Path) -> None:
    result = quantize(
        float_file,
        output,
        calibration=photos,
        mean=0,
        std=255,
        resize="crop",
        crop_fraction=0.875,
        labels=("a", "b", "c", "d"),
    )
    contract = read_contract(output)
    assert contract is not None
    assert contract.labels == ("a", "b", "c", "d")
    assert contract.preprocessing.resize is ResizeRule.CROP
    assert contract.preprocessing.std == (255.0,)
    again = quantize(float_file, output, calibration=photos)
    assert any("mean" in text for text in again.warnings)
    assert not any("mean" in text for text in result.warnings)


def test_pixels_map_to_codes_one_to_one(float_file: Path, photos: Path, output: Path) -> None:
    quantize(float_file, output, calibration=photos, mean=0, std=255)
    spec = read_tflite(output).input_specs()[0]
    assert spec.quantization is not None
    codes = np.rint(np.arange(256) / 255 / spec.quantization.scales[0])
    assert len(np.unique(codes)) == 256
    assert spec.quantization.zero_points == (-128,)


def test_one_image_works_and_warns(float_file: Path, photos: Path, output: Path) -> None:
    result = quantize(float_file, output, calibration=photos, limit=1)
    assert result.num_images == 1
    assert any("1 calibration image:" in text for text in result.warnings)
    assert not any("of one colour" in text for text in result.warnings)


def test_open_batch_and_old_operator_codes(photos: Path, tmp_path: Path, output: Path) -> None:
    editor = ModelEditor(build_classifier(num_classes=4, size=12, seed=3))
    for tensor in editor.model.subgraphs[0].tensors:
        if len(tensor.shape) == 4 and tensor.name in (b"image", b"convolved", b"depthwise"):
            tensor.shapeSignature = [-1, *tensor.shape[1:]]
    for code in editor.model.operatorCodes:
        code.builtinCode = 0
    old = tmp_path / "old.tflite"
    old.write_bytes(editor.to_bytes())
    quantize(old, output, calibration=photos)
    graph = read_tflite(output)
    assert all(t.static for t in graph.tensors)
    assert all(t.dtype != "float32" for t in graph.tensors)


def test_gate_refuses_and_writes_nothing(float_file: Path, photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for index, file in enumerate(sorted(photos.iterdir())[:8]):
        folder = data / f"{index % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    output = tmp_path / "out.tflite"
    good = quantize(float_file, output, calibration=photos, eval_data=data, max_drop=100)
    assert good.accuracy is not None
    assert good.accuracy.samples == 8
    from edgevision.quantization.accuracy import Accuracy
    from edgevision.quantization.gate import check_drop

    with pytest.raises(QualityGateError, match=r"drop 5\.00 points"):
        check_drop(Accuracy(float_value=0.75, quantized_value=0.7, samples=20), 4.9)
    check_drop(Accuracy(float_value=0.75, quantized_value=0.7, samples=20), 5)


def write_labels(model: Path, folder: Path, *, first: int = 0) -> None:
    """Label every image with what the model answers, counted from its class ``first``."""
    from edgevision.runtime.load import load

    classifier = load(model)
    rows = [
        f"{file.name},{int(classifier.scores(file).argmax()) - first}"
        for file in sorted(folder.iterdir())
    ]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows, ""]))


def test_the_command_refuses_what_lost_too_much(
    float_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Black images give ranges in which nothing of a photo is left.
    data, black = tmp_path / "data", tmp_path / "black"
    shutil.copytree(photos, data)
    write_labels(float_file, data)
    black.mkdir()
    Image.new("RGB", (12, 12)).save(black / "black.png")
    output = tmp_path / "out.tflite"
    output.write_text("precious")
    command = ["quantize", str(float_file), "-o", str(output), "--calibration", str(black)]
    gate = ["--eval", str(data), "--max-drop", "1", "--json"]

    code = run_command([*command, *gate, "--scheme", "edgetpu"])  # nothing of it may stay in float

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (code, document["passed"]) == (1, False)
    assert "the target was not reached, so no file was written" in document["error"]
    assert "24 images" in document["error"]
    assert captured.err.count("failed: ") == 1
    assert output.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["black", "data", "out.tflite"]


def test_accuracy_is_measured_without_a_gate(
    float_file: Path, photos: Path, tmp_path: Path, output: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    write_labels(float_file, data)
    result = quantize(float_file, output, calibration=photos, eval_data=data)
    document = result.to_dict()
    assert document["accuracy"]["float"] == 1.0
    assert document["accuracy"]["samples"] == 24
    assert output.exists()


def test_the_gate_counts_classes_as_evaluate_does(
    float_file: Path, photos: Path, tmp_path: Path, output: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    write_labels(float_file, data, first=1)
    names = ("background", "a", "b", "c")
    result = quantize(float_file, output, calibration=photos, eval_data=data, labels=names)
    document = result.to_dict()
    assert document["accuracy"]["float"] == 1.0
    assert any("class is background" in text for text in document["accuracy"]["notes"])
    assert not any("class is background" in text for text in document["warnings"])


def test_failure_leaves_an_existing_output_alone(float_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "kept.tflite"
    output.write_text("precious")
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "bad.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"bad\.jpg"):
        quantize(float_file, output, calibration=folder)
    assert output.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["kept.tflite"]


def test_broken_images_can_be_skipped(float_file: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for file in sorted(photos.iterdir())[:3]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "00bad.jpg").write_text("no image")
    result = quantize(float_file, tmp_path / "o.tflite", calibration=folder, skip_broken=True)
    assert result.num_images == 3
    assert [file.name for file, _ in result.skipped] == ["00bad.jpg"]
    for file in folder.glob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match="no image can be read"):
        quantize(float_file, tmp_path / "o.tflite", calibration=folder, skip_broken=True)


def test_bad_input_is_refused(float_file: Path, photos: Path, tmp_path: Path, output: Path) -> None:
    quantize(float_file, output, calibration=photos)
    other = tmp_path / "other.tflite"
    with pytest.raises(InvalidModelError, match="quantized already"):
        quantize(output, other, calibration=photos)
    with pytest.raises(MissingFileError):
        quantize(tmp_path / "none.tflite", other, calibration=photos)
    with pytest.raises(MissingFileError):
        quantize(float_file, other, calibration=tmp_path / "none")
    with pytest.raises(InvalidConfigError, match="int4"):
        quantize(float_file, other, calibration=photos, scheme="int4")
    with pytest.raises(InvalidConfigError, match="max_drop"):
        quantize(float_file, other, calibration=photos, max_drop=1)
    with pytest.raises(CalibrationError, match="needs calibration images"):
        quantize(float_file, other)
    for name, content, error in (
        ("noise.tflite", np.random.default_rng(0).bytes(5000), InvalidModelError),
        ("cut.tflite", float_file.read_bytes()[:900], InvalidModelError),
        ("many.tflite", build_detector(), UnsupportedOpError),
        ("model.onnx", b"onnx", InvalidModelError),
    ):
        source = tmp_path / name
        source.write_bytes(content)
        with pytest.raises(error):
            quantize(source, other.with_suffix(source.suffix), calibration=photos)
    assert not other.exists()
    assert not other.with_suffix(".onnx").exists()


@pytest.mark.parametrize("op", ["CAST", "DEQUANTIZE"])
def test_a_float_network_that_takes_bytes_is_no_quantized_one(
    op: str, float_file: Path, photos: Path, tmp_path: Path
) -> None:
    editor = ModelEditor(float_file.read_bytes())
    graph = read_tflite(float_file)
    image = graph.inputs[0]
    scale = Quantization(scales=(1 / 127.5,), zero_points=(127,)) if op == "DEQUANTIZE" else None
    stored = editor.add_tensor("bytes", shape=(1, 12, 12, 3), dtype="uint8", quantization=scale)
    editor.add_op(op, [stored], [image], position=0)
    editor.set_inputs([stored])
    source = tmp_path / "bytes.tflite"
    source.write_bytes(editor.to_bytes())
    with pytest.raises(UnsupportedOpError, match=r"uint8\[1, 12, 12, 3\].*float32 image"):
        quantize(source, tmp_path / "o.tflite", calibration=photos)


def test_empty_folder(float_file: Path, tmp_path: Path, output: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        quantize(float_file, output, calibration=tmp_path / "empty")


def test_not_a_number_names_the_layer(float_file: Path, photos: Path, tmp_path: Path) -> None:
    model = float_file.read_bytes()
    graph = read_tflite(model)
    kernel = graph.tensors[graph.ops[1].inputs[1]]
    assert kernel.data is not None
    source = tmp_path / "nan.tflite"
    source.write_bytes(replace_constants(model, {kernel.index: np.full_like(kernel.data, np.nan)}))
    with pytest.raises(CalibrationError, match="layer depthwise"):
        quantize(source, tmp_path / "o.tflite", calibration=photos)


def test_black_images_give_ranges_of_zero_width(float_file: Path, tmp_path: Path) -> None:
    model = float_file.read_bytes()
    graph = read_tflite(model)
    zeros = {t.index: np.zeros(t.shape, np.float32) for t in graph.constants if t.shape == (4,)}
    source = tmp_path / "zero.tflite"
    source.write_bytes(replace_constants(model, zeros))
    folder = tmp_path / "black"
    folder.mkdir()
    Image.new("RGB", (12, 12)).save(folder / "black.png")
    result = quantize(source, tmp_path / "o.tflite", calibration=folder, mean=0, std=255)
    assert any("of one colour" in text for text in result.warnings)
    assert np.isfinite(run(tmp_path / "o.tflite")).all()


def test_never_imports_tensorflow(float_file: Path, photos: Path, output: Path) -> None:
    code = (
        "import sys\n"
        "from edgevision.quantization.quantize import quantize\n"
        "quantize(sys.argv[1], sys.argv[2], calibration=sys.argv[3], limit=2)\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules}"
        " & {'tensorflow', 'keras', 'onnx'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(float_file), str(output), str(photos)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_real_network_gains_from_repairs(real_data: Path, tmp_path: Path) -> None:
    from edgevision.metrics.classification import agreement

    model = real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    images = sorted((real_data / "imagenet/val").glob("*.[jJ]*"))[:60]
    agreements = []
    for wanted in (False, True):
        output = tmp_path / f"{wanted}.tflite"
        quantize(
            model,
            output,
            calibration=real_data / "imagenet/calibration",
            limit=40,
            steps=None if wanted else [],
        )
        scores = [_score(path, images) for path in (model, output)]
        agreements.append(agreement(*scores))
    assert agreements[1] > agreements[0] + 0.1


def _score(path: Path, images: list[Path]) -> np.ndarray:
    from edgevision.runtime.evaluate import collect_scores
    from edgevision.runtime.load import load

    return collect_scores(load(path), images)


def test_float_model_is_never_replaced(tiny_tflite: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(tiny_tflite.read_bytes())
    with pytest.raises(OutputError, match="replace the float model"):
        quantize(model, model, scheme="float16")
    assert model.read_bytes() == tiny_tflite.read_bytes()


@pytest.mark.parametrize("name", ["q", "q.txt", "q.onnx"])
def test_output_is_a_tflite(tiny_tflite: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidConfigError, match=r"is a \.tflite file"):
        quantize(tiny_tflite, tmp_path / name, scheme="float16")
    assert list(tmp_path.iterdir()) == []


def test_keras_file_is_told_to_be_converted(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    model.write_bytes(b"PK\x03\x04")
    with pytest.raises(UnsupportedOpError, match="edgevision convert"):
        quantize(model, tmp_path / "q.tflite", scheme="float16")
