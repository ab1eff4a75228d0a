from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_networks import NetworkSketch, draw_weights

from edgevision.errors import InvalidModelError
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.quantize import quantize


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.tflite"


def test_a_file_without_signatures_may_end_in_float(tmp_path: Path, output: Path) -> None:
    sketch = NetworkSketch(size=4)
    x = sketch.conv(sketch.image, draw_weights(4, 1, 1, 3), name="conv")
    model = tmp_path / "bare.tflite"
    model.write_bytes(sketch.finish(sketch.map("ABS", x, name="abs")))  # not known to the engine
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(folder / "one.png")
    quantize(model, output, calibration=folder, task="segment")
    graph = read_tflite(output)
    assert [op.name for op in graph.ops] == ["CONV_2D", "DEQUANTIZE", "ABS", "QUANTIZE"]
    assert graph.output_specs()[0].dtype == "int8"


def test_half_weights_are_read_as_float_ones(
    float_file: Path, photos: Path, tmp_path: Path, output: Path
) -> None:
    quantize(float_file, output, scheme="float16")
    result = quantize(output, tmp_path / "again.tflite", calibration=photos)
    assert result.sqnr_db is not None
    assert result.sqnr_db > 20
    assert read_tflite(tmp_path / "again.tflite").input_specs()[0].dtype == "int8"
    quantize(float_file, tmp_path / "integer.tflite", scheme="dynamic")
    with pytest.raises(InvalidModelError, match="quantized already"):
        quantize(tmp_path / "integer.tflite", output, calibration=photos)
