"""Small detectors for tests, built without TensorFlow, and a slow, plain suppression of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.contract import AnchorGrid, Contract, Detection, Preprocessing
from edgevision.graph.anchors import decode_boxes, lay_out_anchors
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.specs import Quantization, Task

Array = np.ndarray[Any, Any]

SIDE = 16
LABELS = ("circle", "square")
DETECTION = Detection(
    anchors=(
        AnchorGrid(size=(4, 4), boxes=((0.3, 0.3), (0.2, 0.4))),
        AnchorGrid(size=(2, 2), boxes=((0.6, 0.6), (0.5, 0.8), (0.8, 0.5))),
    ),
    score_threshold=0.3,
    iou_threshold=0.5,
    max_detections=20,
)
CONTRACT = Contract(
    task=Task.DETECT,
    labels=LABELS,
    preprocessing=Preprocessing(),
    detection=DETECTION,
    name="tiny",
)
NUM_ANCHORS = 4 * 4 * 2 + 2 * 2 * 3
SAME = 0


def build_detector_body(*, seed: int = 0, num_classes: int = len(LABELS)) -> bytes:
    """Build two feature maps with box and class heads, sigmoid scores, and two concatenations."""
    rng = np.random.default_rng(seed)
    editor = ModelEditor(create_empty_model())
    image = editor.add_tensor("image", shape=(1, SIDE, SIDE, 3))

    def convolve(source: int, name: str, size: int, shape: tuple[int, int], stride: int) -> int:
        kernel = rng.normal(0, 1.5 / shape[0] ** 0.5, (shape[1], 3, 3, shape[0]))
        result = editor.add_tensor(name, shape=(1, size, size, shape[1]))
        constants = [
            editor.add_tensor(f"{name}/kernel", data=(kernel / 3).astype(np.float32)),
            editor.add_tensor(f"{name}/bias", data=rng.normal(0, 0.2, shape[1]).astype("f4")),
        ]
        options = {"padding": SAME, "strideH": stride, "strideW": stride}
        editor.add_op("CONV_2D", [source, *constants], [result], options=("Conv2DOptions", options))
        return result

    def flatten(source: int, name: str, count: int, width: int) -> int:
        shape = np.array((1, count, width), np.int32)
        result = editor.add_tensor(name, shape=shape.tolist())
        extent = editor.add_tensor(f"{name}/shape", data=shape)
        options = ("ReshapeOptions", {"newShape": shape.tolist()})
        editor.add_op("RESHAPE", [source, extent], [result], options=options)
        return result

    maps = convolve(image, "stem", 4, (3, 8), 4)
    boxes, scores = [], []
    width = num_classes + 1
    for index, grid in enumerate(DETECTION.anchors):
        size, count = grid.size[0], len(grid.boxes)
        if index:
            maps = convolve(maps, f"map_{index}", size, (8, 8), 2)
        raw = convolve(maps, f"boxes_{index}", size, (8, 4 * count), 1)
        boxes.append(flatten(raw, f"flat_boxes_{index}", size * size * count, 4))
        raw = convolve(maps, f"scores_{index}", size, (8, width * count), 1)
        logits = flatten(raw, f"flat_scores_{index}", size * size * count, width)
        result = editor.add_tensor(f"sigmoid_{index}", shape=(1, size * size * count, width))
        editor.add_op("LOGISTIC", [logits], [result])
        scores.append(result)
    outputs = [
        editor.add_tensor("all_boxes", shape=(1, NUM_ANCHORS, 4)),
        editor.add_tensor("all_scores", shape=(1, NUM_ANCHORS, width)),
    ]
    for parts, output in zip((boxes, scores), outputs, strict=True):
        editor.add_op(
            "CONCATENATION", parts, [output], options=("ConcatenationOptions", {"axis": 1})
        )
    editor.set_inputs([image])
    editor.set_outputs(outputs)
    editor.set_signature(
        "serving_default",
        inputs={"image": image},
        outputs=dict(zip(("box_encodings", "class_scores"), outputs, strict=True)),
    )
    return editor.to_bytes()


def build_bare_heads(
    *, num_anchors: int, num_scores: int, quantizations: tuple[Quantization, Quantization] | None
) -> bytes:
    """Build a model whose inputs are the heads, int8 where quantizations are given."""
    editor = ModelEditor(create_empty_model())
    heads = [
        editor.add_tensor(
            f"head_{i}",
            shape=(1, num_anchors, width),
            dtype="float32" if quantizations is None else "int8",
            quantization=quantizations[i] if quantizations else None,
        )
        for i, width in enumerate((4, num_scores))
    ]
    editor.set_inputs(heads)
    editor.set_outputs(heads)
    names = dict(zip(("box_encodings", "class_scores"), heads, strict=True))
    editor.set_signature("serving_default", inputs=names, outputs=names)
    return editor.to_bytes()


def suppress_plainly(
    encodings: Array, scores: Array, detection: Detection
) -> tuple[Array, Array, Array]:
    """Decode and suppress one image's heads with loops: boxes (N, 4), classes, scores, best first.

    Args:
        encodings: (A, 4) float.
        scores: (A, C) float, the background first where there is one.
        detection: How.
    """
    anchors = lay_out_anchors(detection.anchors)
    boxes = decode_boxes(encodings, anchors, detection.box_scales)
    scores = scores[:, int(detection.background) :]
    if detection.class_agnostic:
        best = scores.argmax(axis=1)
        rows = [(scores[i, c], c, i) for i, c in enumerate(best)]
        groups = [rows]
    else:
        groups = [[(s, c, i) for i, s in enumerate(column)] for c, column in enumerate(scores.T)]
    kept: list[tuple[float, int, int]] = []
    for group in groups:
        own: list[tuple[float, int, int]] = []
        for candidate in sorted(group, key=lambda row: (-row[0], row[2])):
            if candidate[0] < detection.score_threshold:
                continue
            overlaps = (measure_iou(boxes[candidate[2]], boxes[other[2]]) for other in own)
            if not any(overlap > detection.iou_threshold for overlap in overlaps):
                own.append(candidate)
        kept.extend(own[: detection.max_detections])
    kept = sorted(kept, key=lambda row: -row[0])[: detection.max_detections]
    indices = [row[2] for row in kept]
    return (
        boxes[indices].reshape(-1, 4),
        np.array([row[1] for row in kept], np.int64),
        np.array([row[0] for row in kept], np.float32),
    )


def measure_iou(a: Array, b: Array) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (a, b)]
    return shared / (areas[0] + areas[1] - shared)
