from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevision.converters import parity
from edgevision.converters.convert import convert, detect_source, detect_target
from edgevision.errors import (
    InvalidConfigError,
    InvalidModelError,
    MissingFileError,
    QualityGateError,
)
from edgevision.graph.contracts import read_contract
from edgevision.graph.reader import read_graph
from edgevision.runtime.sessions import open_session
from edgevision.specs import Layout, ModelFormat, Precision, Task

# Keras reads its own variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def list_files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_keras_becomes_a_static_tflite_with_one_named_signature(models: Path) -> None:
    graph = read_graph(models / "tiny.tflite")

    assert list(graph.signatures) == ["serving_default"]
    inputs, outputs = graph.signatures["serving_default"]
    assert (list(inputs), list(outputs)) == (["input"], ["output"])
    assert all(tensor.static for tensor in graph.tensors)
    assert [op.name for op in graph.ops] == [
        "CONV_2D",
        "HARD_SWISH",
        "DEPTHWISE_CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]


def test_the_same_model_gives_the_same_bytes(models: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        convert(models / "tiny.keras", tmp_path / f"{name}.onnx", labels=None)
        convert(models / "tiny.keras", tmp_path / f"{name}.tflite")

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_float16_halves_the_weights_and_keeps_float32_ends(
    models: Path, tmp_path: Path, suffix: str
) -> None:
    result = convert(models / "tiny.keras", tmp_path / f"m{suffix}", precision="float16")

    graph = read_graph(result.output)
    assert {s.dtype for s in graph.input_specs() + graph.output_specs()} == {"float32"}
    weights = [t for t in graph.constants if t.size > 8]
    assert {t.dtype for t in weights if t.dtype.startswith("float")} == {"float16"}
    assert result.precision is Precision.FLOAT16
    assert result.parity.passed


@pytest.mark.parametrize(
    ("layout", "shape", "transposes"), [("nhwc", (1, 16, 16, 3), 1), ("nchw", (1, 3, 16, 16), 0)]
)
def test_onnx_has_at_most_the_input_transpose(
    models: Path, tmp_path: Path, layout: str, shape: tuple[int, ...], transposes: int
) -> None:
    result = convert(models / "tiny.keras", tmp_path / "m.onnx", layout=layout)

    graph = read_graph(result.output)
    names = [op.name for op in graph.ops]
    assert graph.input_specs()[0].shape == shape
    assert (graph.input_specs()[0].name, graph.output_specs()[0].name) == ("input", "output")
    assert names.count("Transpose") == transposes
    assert names.count("HardSwish") == 1
    assert "BatchNormalization" not in names
    assert result.parity.max_relative_error < 1e-5


def test_the_contract_comes_from_flags_and_label_file(models: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    options: dict[str, Any] = {"task": "classify", "labels": labels, "mean": 0, "std": 255.0}

    result = convert(
        models / "tiny.keras", tmp_path / "m.tflite", resize="crop", crop_fraction=0.875, **options
    )

    contract = read_contract(result.output)
    assert contract == result.contract
    assert contract is not None
    assert contract.labels == ("a", "b", "c", "d", "e")
    assert contract.task is Task.CLASSIFY
    assert (contract.preprocessing.mean, contract.preprocessing.std) == ((0.0,), (255.0,))
    assert contract.preprocessing.crop_fraction == 0.875
    assert not [w for w in result.warnings if "assumed" in w]


def test_what_nobody_stated_is_told(models: Path, tmp_path: Path) -> None:
    result = convert(models / "tiny.keras", tmp_path / "m.tflite")

    assert "preprocessing.mean" in result.contract.assumed
    assert any("mean 127.5" in text for text in result.warnings)


def test_own_format_changes_the_contract_only(models: Path, tmp_path: Path) -> None:
    result = convert(models / "tiny.tflite", tmp_path / "m.tflite", mean=1.0)

    before, after = read_graph(models / "tiny.tflite"), read_graph(result.output)
    assert result.contract.preprocessing.mean == (1.0,)
    assert [op.name for op in before.ops] == [op.name for op in after.ops]
    assert result.parity.max_abs_error == 0.0


def test_photographs_are_used_for_the_check(models: Path, tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (20, 30), (index * 80, 10, 200)).save(tmp_path / f"{index}.png")

    result = convert(models / "tiny.tflite", tmp_path / "m.onnx", parity_data=tmp_path)

    assert (result.parity.samples, result.parity.inputs) == (3, "folder")
    assert result.parity.top1_agreement == 1.0


def test_to_dict_has_the_documented_keys(models: Path, tmp_path: Path) -> None:
    document = convert(models / "tiny.tflite", tmp_path / "m.tflite").to_dict()

    assert document["output"] == str(tmp_path / "m.tflite")
    assert document["format"] == "tflite"
    assert document["ops"] == len(read_graph(models / "tiny.tflite").ops)
    assert document["parity"]["passed"] is True


def test_progress_names_the_stages(models: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    convert(models / "tiny.tflite", tmp_path / "m.onnx", progress=lambda s, *_: seen.append(s))

    assert list(dict.fromkeys(seen)) == ["converting", "checking"]


def test_a_model_that_answers_differently_is_not_written(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.TOLERANCES, Precision.FLOAT32, -1.0)

    with pytest.raises(QualityGateError, match="does not answer like its source"):
        convert(models / "tiny.tflite", tmp_path / "m.onnx")

    assert not list_files(tmp_path)


@pytest.mark.parametrize("suffix", [".h5", ".onnx", ".tflite", ".keras"])
def test_noise_is_refused_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"noise{suffix}"
    source.write_bytes(np.random.default_rng(0).bytes(3000))

    with pytest.raises(InvalidModelError):
        convert(source, tmp_path / "o.tflite")

    assert list_files(tmp_path) == [source.name]


def test_wrong_arguments_are_refused(models: Path, tmp_path: Path) -> None:
    source, output = models / "tiny.tflite", tmp_path / "o.tflite"
    with pytest.raises(InvalidConfigError, match=r"o\.unknown"):
        convert(source, tmp_path / "o.unknown")
    with pytest.raises(InvalidConfigError, match="nchw"):
        convert(source, output, layout=Layout.NCHW)
    with pytest.raises(InvalidConfigError, match="own format"):
        convert(source, output, precision="float16")
    with pytest.raises(InvalidConfigError, match="int3"):
        convert(source, output, precision="int3")
    with pytest.raises(InvalidConfigError, match="std"):
        convert(source, output, std=0)
    with pytest.raises(InvalidConfigError, match="resize=fold"):
        convert(source, output, resize="fold")
    with pytest.raises(MissingFileError):
        convert(tmp_path / "missing.keras", output)
    with pytest.raises(MissingFileError):
        convert(source, output, labels=tmp_path / "missing.txt")
    assert not list_files(tmp_path)


def test_labels_must_fit_the_head(models: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\n")

    with pytest.raises(InvalidConfigError, match="2 labels, 5"):
        convert(models / "tiny.tflite", tmp_path / "o.tflite", labels=labels)

    assert list_files(tmp_path) == ["labels.txt"]


def test_formats_are_told_by_suffix_and_content(tmp_path: Path) -> None:
    assert detect_target("x/m.ONNX") is ModelFormat.ONNX
    (tmp_path / "model.bin").write_bytes(b"1")
    with pytest.raises(InvalidModelError, match=r"model\.bin"):
        detect_source(tmp_path / "model.bin")
    with pytest.raises(InvalidModelError, match="SavedModel"):
        detect_source(tmp_path)


def test_nothing_is_printed(models: Path, tmp_path: Path) -> None:
    code = f"""
from edgevision.converters import parity
from edgevision.converters.convert import convert
convert({str(models / "tiny.keras")!r}, {str(tmp_path / "m.onnx")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("name", "pixels", "suffix"),
    [
        ("mobilenet_v1_0.25_224_imagenet", {"mean": 127.5, "std": 127.5}, ".tflite"),
        ("mobilenet_v1_0.25_224_imagenet", {"mean": 127.5, "std": 127.5}, ".onnx"),
        ("vww_96", {"mean": 0, "std": 255}, ".tflite"),
        ("resnet8_cifar10", {"mean": 0, "std": 1}, ".onnx"),
    ],
)
def test_real_keras_2_files(
    real_data: Path, tmp_path: Path, name: str, pixels: dict[str, Any], suffix: str
) -> None:
    pytest.importorskip("tensorflow")
    source, photographs = real_data / f"models/{name}.h5", real_data / "images"

    result = convert(source, tmp_path / f"m{suffix}", parity_data=photographs, **pixels)

    assert result.parity.max_relative_error < 1e-4
    assert result.parity.top1_agreement == 1.0
    assert open_session(result.output).inputs[0].shape[0] == 1
