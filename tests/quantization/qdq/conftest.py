from __future__ import annotations

from pathlib import Path

import pytest
import tiny_onnx

import edgevision as ev


@pytest.fixture(scope="session")
def float_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_onnx.save(tiny_onnx.build_classifier(), tmp_path_factory.mktemp("onnx") / "f.onnx")


@pytest.fixture(scope="session")
def int8_onnx(float_onnx: Path, photos: Path) -> Path:
    return ev.quantize(float_onnx, float_onnx.with_name("int8.onnx"), calibration=photos).output
