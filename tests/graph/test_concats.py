from __future__ import annotations

import numpy as np
import pytest
from tiny_models import build_classifier, run_model

from edgevision.graph.concats import MAX_PARTS, split_concats
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.tflite import read_tflite
from edgevision.specs import Quantization


def build_concatenation(sizes: list[int], *, axis: int, dtype: str = "float32") -> bytes:
    quantization = Quantization((0.5,), (3,)) if dtype == "int8" else None
    editor = ModelEditor(create_empty_model())
    shape = [1, 2, 3]
    parts = []
    for index, size in enumerate(sizes):
        shape[axis] = size
        parts.append(
            editor.add_tensor(f"part_{index}", shape=shape, dtype=dtype, quantization=quantization)
        )
    shape[axis] = sum(sizes)
    result = editor.add_tensor("result", shape=shape, dtype=dtype, quantization=quantization)
    options = ("ConcatenationOptions", {"axis": axis})
    editor.add_op("CONCATENATION", parts, [result], options=options, version=2)
    editor.set_inputs(parts)
    editor.set_outputs([result])
    return editor.to_bytes()


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("count", [6, 7, 11, 30])
def test_the_result_is_the_same(count: int, dtype: str) -> None:
    model = build_concatenation([1 + i % 3 for i in range(count)], axis=-1, dtype=dtype)

    split = split_concats(model)

    np.testing.assert_array_equal(run_model(split)[0], run_model(model)[0])
    ops = read_tflite(split).ops
    assert all(op.name == "CONCATENATION" and len(op.inputs) <= MAX_PARTS for op in ops)
    assert len(ops) > 1


@pytest.mark.parametrize(
    "model", [build_classifier(), build_concatenation([1] * MAX_PARTS, axis=1)]
)
def test_short_ones_stay(model: bytes) -> None:
    assert split_concats(model) is model
