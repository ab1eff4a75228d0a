"""Small .onnx models for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def make_model(
    nodes: Sequence[Any],
    *,
    inputs: Sequence[tuple[str, Sequence[int | str]]],
    outputs: Sequence[str],
    constants: dict[str, np.ndarray],
    opset: int = 17,
    list_constants: bool = False,
    domains: Sequence[str] = (),
) -> Any:
    """Make a model; ``list_constants`` names the initializers as inputs too, as old files do."""
    values = [helper.make_tensor_value_info(n, FLOAT, list(shape)) for n, shape in inputs]
    if list_constants:
        values += [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in constants.items()
        ]
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        values,
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    opsets = [helper.make_opsetid(d, v) for d, v in (("", opset), *((d, 1) for d in domains))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def build_classifier(*, batch: int | str = "N", opset: int = 17, **options: Any) -> Any:
    """Build conv 3x3/2, depthwise 3x3, pool, flatten and dense on an (3, 8, 8) input."""
    node = helper.make_node
    return make_model(
        [
            node("Conv", ["image", "w0", "b0"], ["c0"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Clip", ["c0", "zero", "six"], ["r0"]),
            node("Conv", ["r0", "w1"], ["c1"], "depthwise", group=4, pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", ["c1"], ["p"]),
            node("Reshape", ["p", "shape"], ["f"]),
            node("Gemm", ["f", "w2", "b2"], ["scores"], "head", transB=1),
        ],
        inputs=[("image", (batch, 3, 8, 8))],
        outputs=["scores"],
        constants={
            "w0": weights(4, 3, 3, 3),
            "b0": weights(4),
            "zero": np.float32(0),
            "six": np.float32(6),
            "w1": weights(4, 1, 3, 3),
            "shape": np.array([-1, 4]),
            "w2": weights(5, 4),
            "b2": weights(5),
        },
        opset=opset,
        **options,
    )


CLASSIFIER_MACS = 4 * 4 * 3 * 3 * 3 * 4 + 4 * 4 * 3 * 3 * 4 + 4 * 5
CLASSIFIER_PARAMS = 4 * 3 * 3 * 3 + 4 + 4 * 3 * 3 + 5 * 4 + 5


def save(model: Any, path: Path, **options: Any) -> Path:
    onnx.save_model(model, str(path), **options)
    return path
