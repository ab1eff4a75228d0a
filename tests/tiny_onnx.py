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


def build_detector(
    *, seed: int = 2, num_classes: int = 2, logits: bool = False, **options: Any
) -> Any:
    """Build two feature maps with heads for the anchors of ``tiny_detectors.DETECTION``."""
    rng = np.random.default_rng(seed)
    node = helper.make_node
    nodes, constants = [node("Transpose", ["image"], ["x"], "turn", perm=[0, 3, 1, 2])], {}

    def convolve(source: str, name: str, shape: tuple[int, int], stride: int) -> str:
        kernel = rng.normal(0, 1.5 / shape[0] ** 0.5 / 3, (shape[1], shape[0], 3, 3))
        constants[f"{name}.w"] = kernel.astype(np.float32)
        constants[f"{name}.b"] = rng.normal(0, 0.2, shape[1]).astype(np.float32)
        names = [source, f"{name}.w", f"{name}.b"]
        # As TensorFlow pads: the odd row behind.
        pads = {"pads": [0, 0, 1, 1]} if stride == 2 else {"pads": [1, 1, 1, 1]}
        pads = {"pads": [0, 0, 0, 0]} if stride == 4 else pads
        nodes.append(node("Conv", names, [name], name, strides=[stride] * 2, **pads))
        return name

    def flatten(source: str, name: str, width: int) -> str:
        constants[f"{name}.shape"] = np.array([1, -1, width])
        nodes.append(node("Transpose", [source], [f"{name}.t"], f"{name}.t", perm=[0, 2, 3, 1]))
        nodes.append(node("Reshape", [f"{name}.t", f"{name}.shape"], [name], name))
        return name

    maps, heads = convolve("x", "stem", (3, 8), 4), ([], [])
    width = num_classes + 1
    for index, count in enumerate((2, 3)):
        if index:
            maps = convolve(maps, f"map_{index}", (8, 8), 2)
        nodes.append(node("Relu", [maps], [f"relu_{index}"], f"relu_{index}"))
        maps = f"relu_{index}"
        boxes = convolve(maps, f"boxes_{index}", (8, 4 * count), 1)
        heads[0].append(flatten(boxes, f"flat_boxes_{index}", 4))
        scores = flatten(
            convolve(maps, f"scores_{index}", (8, width * count), 1), f"flat_scores_{index}", width
        )
        heads[1].append(scores if logits else f"sigmoid_{index}")
        if not logits:
            nodes.append(node("Sigmoid", [scores], heads[1][-1:], f"sigmoid_{index}"))
    outputs = ("box_encodings", "class_scores")
    for parts, output in zip(heads, outputs, strict=True):
        nodes.append(node("Concat", parts, [output], output, axis=1))
    return make_model(
        nodes,
        inputs=[("image", (1, 16, 16, 3))],
        outputs=outputs,
        constants=constants,
        **options,
    )


def build_segmenter(*, num_classes: int = 3, **options: Any) -> Any:
    """Build two convolutions that score the classes of each pixel of an (3, 8, 8) image."""
    node = helper.make_node
    model = make_model(
        [
            node("Conv", ["image", "w0", "b0"], ["c0"], "stem", pads=[1, 1, 1, 1]),
            node("Relu", ["c0"], ["r0"], "relu"),
            node("Conv", ["r0", "w1", "b1"], ["scores"], "head"),
        ],
        inputs=[("image", (1, 3, 8, 8))],
        outputs=["scores"],
        constants={
            "w0": weights(6, 3, 3, 3),
            "b0": weights(6),
            "w1": weights(num_classes, 6, 1, 1, seed=1),
            "b1": weights(num_classes, seed=2),
        },
        **options,
    )
    return onnx.shape_inference.infer_shapes(model)
