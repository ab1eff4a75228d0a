from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

MODELS = Path(__file__).parent / "models"


@pytest.fixture(scope="session")
def float_model() -> Path:
    """8x8x3 float32 -> 4 probabilities; signature names; labels circle, square, star, cross."""
    return MODELS / "float.tflite"


@pytest.fixture(scope="session")
def int8_model() -> Path:
    """2x2x3 int8 -> 4 int8 logits; no signature; the same labels."""
    return MODELS / "int8.tflite"


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def write_folder(tmp_path, photo):
    """Write a data set: file names below the folder, each with a shift of the photo's pixels."""
    from PIL import Image

    def write(names: dict[str, int]) -> Path:
        for name, shift in names.items():
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(photo, shift, axis=2) // (1 + shift)).save(path)
        return tmp_path / "photos"

    return write


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory) -> Path:
    """Dynamic batch, 3x4x4 NCHW -> 3 logits: the mean of each channel, times 1, 2 and 3."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    scale = helper.make_tensor("scale", kind, [3], [1.0, 2.0, 3.0])
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [-1, 3])
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
            helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
            helper.make_node("Mul", ["flat", "scale"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", kind, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", kind, ["batch", 3])],
        [scale, shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    onnx.save(model, path)
    return path
