"""A libedgetpu for tests, and a model as the Edge TPU's compiler writes it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.specs import Quantization

SOURCE = Path(__file__).parent / "runtime/fake_edgetpu.c"


def build_library(folder: Path) -> Path:
    """Compile the library, or skip the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build a libedgetpu for tests")
    path = folder / "libedgetpu.so.1"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(path), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return path


def build_compiled() -> bytes:
    """Build one operation for the Edge TPU, and a DEQUANTIZE that stayed on the CPU."""
    editor = ModelEditor(create_empty_model())
    grid = Quantization((1 / 64,), (0,))
    image = editor.add_tensor("image", shape=(1, 8, 8, 3), dtype="uint8", quantization=grid)
    steps = editor.add_tensor("steps", shape=(1, 4), dtype="uint8", quantization=grid)
    scores = editor.add_tensor("scores", shape=(1, 4))
    editor.add_op("CUSTOM:edgetpu-custom-op", [image], [steps], custom_options=b"program")
    editor.add_op("DEQUANTIZE", [steps], [scores])
    editor.set_inputs([image])
    editor.set_outputs([scores])
    return editor.to_bytes()


def build_chain(*names: str) -> bytes:
    """Build operations on bytes, each behind the other; DEQUANTIZE turns them into floats."""
    editor = ModelEditor(create_empty_model())
    grid = Quantization((1 / 64,), (0,))
    first = last = editor.add_tensor("x", shape=(1, 4), dtype="int8", quantization=grid)
    for i, name in enumerate(names):
        plain = name == "DEQUANTIZE"
        dtype, scales = ("float32", None) if plain else ("int8", grid)
        output = editor.add_tensor(f"y{i}", shape=(1, 4), dtype=dtype, quantization=scales)
        editor.add_op(name, [last], [output])
        last = output
    editor.set_inputs([first])
    editor.set_outputs([last])
    return editor.to_bytes()
