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
from edgevision.graph.postprocess import append_postprocess
from edgevision.specs import Quantization, ScoreKind, Task

FOLDER = Path(__file__).parent / "models"
LABELS = ("circle", "square", "star", "cross")
INT8_INPUT = Quantization(scales=(2 / 255,), zero_points=(-1,))
INT8_OUTPUT = Quantization(scales=(1 / 64,), zero_points=(5,))
INT8_WEIGHT_SCALE = 1 / 100


def load_tiny(name: str) -> ModuleType:
    """Import ``tests/tiny_models.py`` or ``tests/tiny_detectors.py``, which are in no package."""
    spec = spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_contract(**changes: object) -> Contract:
    values = {"task": Task.CLASSIFY, "labels": LABELS, "preprocessing": Preprocessing()}
    return Contract(**{**values, **changes})


def build_float() -> bytes:
    """Build 8x8x3 float32 -> 4 probabilities, signature names ``image`` and ``scores``."""
    model = load_tiny("tiny_models").build_classifier(num_classes=4, seed=3)
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


def build_heads() -> bytes:
    """Build 16x16x3 float32 -> raw heads of a detector of circles and squares."""
    tiny = load_tiny("tiny_detectors")
    return attach_contract(tiny.build_detector_body(), tiny.CONTRACT)


def build_boxes() -> bytes:
    """Build the same, behind it the operation that suppresses boxes."""
    tiny = load_tiny("tiny_detectors")
    model = append_postprocess(
        tiny.build_detector_body(), tiny.DETECTION, len(tiny.CONTRACT.labels)
    )
    return attach_contract(model, tiny.CONTRACT)


def build_masks() -> bytes:
    """Build 4x4x3 float32 -> scores of four classes for every pixel: its red, green, blue and 0."""
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, 4, 4, 3))
    kernel = editor.add_tensor("kernel", data=np.eye(4, 3, dtype=np.float32).reshape(4, 1, 1, 3))
    bias = editor.add_tensor("bias", data=np.zeros(4, np.float32))
    scores = editor.add_tensor("scores", shape=(1, 4, 4, 4))
    options = ("Conv2DOptions", {"padding": 1, "strideH": 1, "strideW": 1})
    editor.add_op("CONV_2D", [image, kernel, bias], [scores], options=options)
    editor.set_inputs([image])
    editor.set_outputs([scores])
    labels = ("red", "green", "blue", "dark")
    return attach_contract(editor.to_bytes(), make_contract(task=Task.SEGMENT, labels=labels))


STORED = {
    "float.tflite": build_float,
    "int8.tflite": build_int8,
    "heads.tflite": build_heads,
    "boxes.tflite": build_boxes,
    "masks.tflite": build_masks,
}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, build in STORED.items():
        (FOLDER / name).write_bytes(build())
