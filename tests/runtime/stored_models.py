"""The models in ``tests/runtime/models``: committed, because the older interpreter's environment
has no package that could build them. ``python tests/runtime/stored_models.py`` writes them again.
"""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from edgevision.contract import Contract, Preprocessing
from edgevision.graph.contracts import attach_contract
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.specs import Quantization, ScoreKind, Task

FOLDER = Path(__file__).parent / "models"
LABELS = ("circle", "square", "star", "cross")
INT8_INPUT = Quantization(scales=(2 / 255,), zero_points=(-1,))
INT8_OUTPUT = Quantization(scales=(1 / 64,), zero_points=(5,))
INT8_WEIGHT_SCALE = 1 / 100


def load_tiny_models() -> ModuleType:
    """Import ``tests/tiny_models.py``, which is part of no package."""
    spec = spec_from_file_location("tiny_models", Path(__file__).parents[1] / "tiny_models.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_contract(**changes: object) -> Contract:
    values = {"task": Task.CLASSIFY, "labels": LABELS, "preprocessing": Preprocessing()}
    return Contract(**{**values, **changes})


def build_float() -> bytes:
    """Build 8x8x3 float32 -> 4 probabilities, signature names ``image`` and ``scores``."""
    model = load_tiny_models().build_classifier(num_classes=4, seed=3)
    return attach_contract(model, make_contract())


def int8_weights() -> np.ndarray:
    """Return (4, 12) int8: output k adds up what column k of the flattened image gives."""
    return np.random.default_rng(5).integers(-100, 100, (4, 12)).astype(np.int8)


def build_int8() -> bytes:
    """Build 2x2x3 int8 -> reshape -> dense -> 4 int8 logits."""
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, 2, 2, 3), dtype="int8", quantization=INT8_INPUT)
    shape = editor.add_tensor("shape", data=np.array([1, 12], np.int32))
    row = editor.add_tensor("row", shape=(1, 12), dtype="int8", quantization=INT8_INPUT)
    editor.add_op("RESHAPE", [image, shape], [row])
    weights = editor.add_tensor(
        "weights",
        data=int8_weights(),
        quantization=Quantization(scales=(INT8_WEIGHT_SCALE,), zero_points=(0,)),
    )
    bias_scale = INT8_INPUT.scales[0] * INT8_WEIGHT_SCALE
    bias = editor.add_tensor(
        "bias",
        data=np.zeros(4, np.int32),
        quantization=Quantization(scales=(bias_scale,), zero_points=(0,)),
    )
    logits = editor.add_tensor("logits", shape=(1, 4), dtype="int8", quantization=INT8_OUTPUT)
    editor.add_op(
        "FULLY_CONNECTED",
        [row, weights, bias],
        [logits],
        options=("FullyConnectedOptions", {}),
        version=4,
    )
    editor.set_inputs([image])
    editor.set_outputs([logits])
    return attach_contract(editor.to_bytes(), make_contract(scores=ScoreKind.LOGITS))


STORED = {"float.tflite": build_float, "int8.tflite": build_int8}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, build in STORED.items():
        (FOLDER / name).write_bytes(build())
