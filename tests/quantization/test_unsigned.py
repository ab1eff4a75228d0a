from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.errors import InvalidConfigError
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.quantize import quantize
from edgevision.quantization.unsigned import make_unsigned


def run_bytes(model: bytes, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.fixture(scope="module")
def signed(float_file: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    output = tmp_path_factory.mktemp("signed") / "int8.tflite"
    quantize(float_file, output, calibration=photos, steps=[])
    return output.read_bytes()


def test_the_values_are_the_same_moved_by_128(signed: bytes) -> None:
    shape = read_tflite(signed).input_specs()[0].shape
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    expected = run_bytes(signed, (values.astype(np.int16) - 128).astype(np.int8))
    answer = run_bytes(make_unsigned(signed), values)
    assert answer.dtype == np.uint8
    assert np.ptp(answer) > 0
    np.testing.assert_array_equal(answer.astype(np.int16), expected.astype(np.int16) + 128)


def test_names_and_signatures_stay(signed: bytes) -> None:
    editor = ModelEditor(signed)
    graph = read_tflite(signed)
    editor.set_signature(
        "serving_default", inputs={"pixels": graph.inputs[0]}, outputs={"scores": graph.outputs[0]}
    )
    before = read_tflite(editor.to_bytes())
    after = read_tflite(make_unsigned(editor.to_bytes()))
    for specs in ("input_specs", "output_specs"):
        old, new = getattr(before, specs)()[0], getattr(after, specs)()[0]
        assert (new.name, new.shape, new.dtype) == (old.name, old.shape, "uint8")
        assert new.quantization.scales == old.quantization.scales
        assert new.quantization.zero_points[0] == old.quantization.zero_points[0] + 128
    inputs, outputs = after.signatures["serving_default"]
    assert inputs == {"pixels": after.inputs[0]}
    assert outputs == {"scores": after.outputs[0]}
    assert len({t.name for t in after.tensors}) == len(after.tensors)


def test_float_faces_stay() -> None:
    model = build_classifier()
    before, after = read_tflite(model), read_tflite(make_unsigned(model))
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert [op.name for op in after.ops] == [op.name for op in before.ops]


def test_the_file_is_measured_as_it_ships(float_file: Path, photos: Path, tmp_path: Path) -> None:
    from edgevision.runtime.load import load

    files = [tmp_path / "int8.tflite", tmp_path / "uint8.tflite"]
    for file, unsigned in zip(files, (False, True), strict=True):
        result = quantize(float_file, file, calibration=photos, scheme="edgetpu", unsigned=unsigned)
        assert not any("CPU" in text for text in result.warnings)
    image = np.random.default_rng(2).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    scores = [load(file).scores(image) for file in files]
    # Pixels halfway between two integers round to the even one, which is another one here.
    np.testing.assert_allclose(scores[0], scores[1], atol=1.01 / 256)


def test_other_schemes_are_refused(float_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="only 8-bit"):
        quantize(float_file, tmp_path / "out.tflite", scheme="dynamic", unsigned=True)
