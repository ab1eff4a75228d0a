"""Non-maximum suppression inside a ``.tflite``: the custom operation of detectors, put on and off.

``TFLite_Detection_PostProcess`` (TensorFlow Lite, ``kernels/detection_postprocess.cc``) decodes the
raw heads against its anchors and leaves the best boxes. It takes floats, so that int8 heads keep a
scale each, and decoding loses nothing.

Class-wise suppression with N threads, N above 1, loses every box of class N: the worker threads
begin with the classes 0 to N - 1, and go on with N + 1 (seen in ai-edge-litert 2.3). So the classes
of our files come behind some spare ones without scores, and their numbers are set right behind the
operation. Files of others keep their one thread: ``limit_threads``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgevision.contract import Detection
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.anchors import Floats, lay_out_anchors
from edgevision.graph.detection_heads import RAW_HEADS, RESULTS, find_heads
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.flexbuffers import Number, write_numbers
from edgevision.graph.graph import Graph, Tensor
from edgevision.graph.ops import OpKind
from edgevision.graph.postprocess_settings import (
    count_object_classes,
    find_producer,
    find_results,
    fit_grids,
    get_postprocess,
    read_anchors,
    read_detection,
    skip_spare,
)
from edgevision.graph.tflite import read_tflite
from edgevision.graph.tflite_schema import DETECTION_POSTPROCESS, FUSED_ACTIVATIONS

__all__ = [
    "append_postprocess",
    "count_object_classes",
    "dequantize_heads",
    "detach_postprocess",
    "extract_postprocess",
    "find_results",
    "fit_grids",
    "get_postprocess",
    "read_anchors",
    "read_detection",
]

MAIN_SIGNATURE = "serving_default"

NUM_SPARE = 16
"""Spare classes: fewer threads than that lose nothing, and ``limit_threads`` allows no more."""

# From which version on DEQUANTIZE reads the type.
_DEQUANTIZE_VERSIONS = {"uint8": 1, "int8": 2, "int16": 3}
_SAFE_CLASSES = 2
_RELU = next(code for code, name in FUSED_ACTIVATIONS.items() if name == "relu")


def append_postprocess(
    model: bytes,
    detection: Detection,
    num_classes: int,
    *,
    anchors: Floats | None = None,
    logits: bool = False,
) -> bytes:
    """Put decoding and non-maximum suppression behind the raw heads of a detector.

    Class-wise suppression uses the operation's regular mode. Class-agnostic suppression uses its
    fast mode, in which every anchor stands for its best class only.

    Args:
        model: Bytes of a ``.tflite`` with the outputs ``box_encodings`` (1, A, 4) and
            ``class_scores`` (1, A, C), float or quantized.
        detection: Anchors, scales and limits.
        num_classes: Object classes, without the background.
        anchors: (A, 4) from ``lay_out_anchors``, in place of those of ``detection``.
        logits: Whether the scores still have to go through a sigmoid.

    Returns:
        Bytes of a model with the outputs ``boxes`` (1, N, 4) as shares of the image, ``classes``
        (1, N), ``scores`` (1, N) and ``count`` (1,), all float32; what lies beyond ``count`` means
        nothing.

    Raises:
        InvalidModelError: The model has no such heads.
        InvalidConfigError: Anchors or classes do not fit the heads.
    """
    graph = read_tflite(model)
    heads = [graph.tensors[t] for t in find_heads(graph)]
    laid_out = lay_out_anchors(detection.anchors) if anchors is None else anchors
    _check_heads(heads, detection, laid_out, num_classes=num_classes)
    editor = ModelEditor(model)
    boxes, scores = (_widen(editor, tensor) for tensor in heads)
    if logits:
        scores = _squash(editor, scores, heads[1].shape)
    # One thread alone takes the classes 0 and 1 in any case.
    num_spare = 0 if detection.class_agnostic or num_classes <= _SAFE_CLASSES else NUM_SPARE
    if num_spare:
        scores = _add_spare(editor, scores, heads[1].shape, background=detection.background)
    outputs = _add_results(editor, detection.max_detections)
    editor.add_op(
        f"CUSTOM:{DETECTION_POSTPROCESS}",
        [boxes, scores, editor.add_tensor("anchors", data=laid_out)],
        outputs,
        custom_options=write_numbers(_describe_options(detection, num_classes + num_spare)),
    )
    if num_spare:
        outputs[1] = _shift_classes(editor, outputs[1], detection.max_detections)
    _name_ends(editor, graph, dict(zip(RESULTS, outputs, strict=True)))
    return editor.to_bytes()


def detach_postprocess(model: bytes, *, keep_floats: bool = False) -> bytes:
    """Take decoding and non-maximum suppression off a detector: the raw heads become its outputs.

    Args:
        model: Bytes of a ``.tflite`` that ends in ``TFLite_Detection_PostProcess``.
        keep_floats: Whether quantized heads keep the ``DEQUANTIZE`` behind them.

    Returns:
        Bytes of a model with the outputs ``box_encodings`` and ``class_scores``.

    Raises:
        InvalidModelError: The model has no such operation, or computes its anchors.
    """
    graph = read_tflite(model)
    op = get_postprocess(graph)
    inputs = (op.inputs[0], skip_spare(graph, op)[0])
    heads = [t if keep_floats else _skip_dequantize(graph, t) for t in inputs]
    if any(graph.tensors[t].constant for t in heads):
        raise InvalidModelError("the heads of the detector are constants", received=op.name)
    editor = ModelEditor(model)
    editor.cut(graph.inputs, heads)
    _name_ends(editor, graph, dict(zip(RAW_HEADS, heads, strict=True)))
    editor.remove_unused()
    return editor.to_bytes()


def extract_postprocess(model: bytes) -> bytes:
    """Cut decoding and suppression out as a model of its own, from the raw heads to the boxes.

    Returns:
        Bytes of a model with the float32 inputs ``box_encodings`` and ``class_scores``.

    Raises:
        InvalidModelError: The model has no such operation.
    """
    graph = read_tflite(model)
    op = get_postprocess(graph)
    heads = (op.inputs[0], skip_spare(graph, op)[0])
    results = find_results(graph)
    editor = ModelEditor(model)
    editor.cut(heads, list(results.values()))
    inputs = dict(zip(RAW_HEADS, heads, strict=True))
    editor.set_signature(MAIN_SIGNATURE, inputs=inputs, outputs=results)
    editor.model.metadata = None
    editor.files = {}
    editor.remove_unused()
    return editor.to_bytes()


def dequantize_heads(model: bytes) -> bytes:
    """Let a detector with quantized raw heads answer floats; other models stay as they are."""
    graph = read_tflite(model)
    try:
        heads = [graph.tensors[t] for t in find_heads(graph)]
    except InvalidModelError:  # no detector
        return model
    if not any(tensor.dtype in _DEQUANTIZE_VERSIONS for tensor in heads):
        return model
    editor = ModelEditor(model)
    widened = [_widen(editor, tensor) for tensor in heads]
    _name_ends(editor, graph, dict(zip(RAW_HEADS, widened, strict=True)))
    return editor.to_bytes()


def _describe_options(detection: Detection, num_classes: int) -> dict[str, Number]:
    y, x, h, w = detection.box_scales
    return {
        "max_detections": detection.max_detections,
        "max_classes_per_detection": 1,
        "detections_per_class": detection.max_detections,
        "use_regular_nms": not detection.class_agnostic,
        "nms_score_threshold": detection.score_threshold,
        "nms_iou_threshold": detection.iou_threshold,
        "num_classes": num_classes,
        "y_scale": y,
        "x_scale": x,
        "h_scale": h,
        "w_scale": w,
    }


def _check_heads(
    heads: Sequence[Tensor], detection: Detection, anchors: Floats, *, num_classes: int
) -> None:
    num_anchors, num_scores = heads[0].shape[1], heads[1].shape[-1]
    if len(anchors) != num_anchors:
        raise InvalidConfigError(
            "a detector has one pair of outputs for each anchor",
            received=f"{len(anchors)} anchors in the contract, {num_anchors} in the outputs",
            remedy="use --heads raw, or build the model and its contract for one input size",
        )
    if num_scores != num_classes + detection.background:
        raise InvalidConfigError(
            "a detector has one score for each class, and one for a background that it knows",
            received=f"{num_scores} scores, {num_classes} classes, "
            f"background={detection.background}",
        )


def _widen(editor: ModelEditor, tensor: Tensor) -> int:
    """Return a float tensor with the values of a head."""
    if tensor.dtype not in _DEQUANTIZE_VERSIONS:
        return tensor.index
    result = editor.add_tensor(f"{tensor.name}_float", shape=tensor.shape)
    version = _DEQUANTIZE_VERSIONS[tensor.dtype]
    editor.add_op("DEQUANTIZE", [tensor.index], [result], version=version)
    return result


def _squash(editor: ModelEditor, scores: int, shape: Sequence[int]) -> int:
    result = editor.add_tensor("probabilities", shape=shape)
    editor.add_op("LOGISTIC", [scores], [result])
    return result


def _add_spare(editor: ModelEditor, scores: int, shape: Sequence[int], *, background: bool) -> int:
    """Take the background off the scores, and put columns of zeros in front of the classes."""
    num_anchors, num_scores = shape[1:]
    num_classes = num_scores - background
    if background:
        bounds = [
            editor.add_tensor(f"classes_{name}", data=np.array(values, np.int32))
            for name, values in (("begin", (0, 0, 1)), ("size", (1, num_anchors, num_classes)))
        ]
        whole = scores
        scores = editor.add_tensor("class_columns", shape=(1, num_anchors, num_classes))
        editor.add_op("SLICE", [whole, *bounds], [scores], options=("SliceOptions", {}))
    margins = np.array([[0, 0], [0, 0], [NUM_SPARE, 0]], np.int32)
    padding = editor.add_tensor("spare_classes", data=margins)
    result = editor.add_tensor("spared_scores", shape=(1, num_anchors, NUM_SPARE + num_classes))
    editor.add_op("PAD", [scores, padding], [result], options=("PadOptions", {}))
    return result


def _shift_classes(editor: ModelEditor, classes: int, num_boxes: int) -> int:
    """Count classes from the first real one; what lies beyond the count stays at 0."""
    spare = editor.add_tensor("num_spare", data=np.array(NUM_SPARE, np.float32))
    result = editor.add_tensor("real_classes", shape=(1, num_boxes))
    options = ("SubOptions", {"fusedActivationFunction": _RELU})
    editor.add_op("SUB", [classes, spare], [result], options=options)
    return result


def _skip_dequantize(graph: Graph, tensor: int) -> int:
    producer = find_producer(graph, tensor, OpKind.DEQUANTIZE)
    if producer is None:
        return tensor
    source = producer.inputs[0]
    return tensor if graph.tensors[source].constant else source


def _add_results(editor: ModelEditor, num_boxes: int) -> list[int]:
    shapes = ((1, num_boxes, 4), (1, num_boxes), (1, num_boxes), (1,))
    return [
        editor.add_tensor(f"detected_{name}", shape=shape)
        for name, shape in zip(RESULTS, shapes, strict=True)
    ]


def _name_ends(editor: ModelEditor, graph: Graph, outputs: Mapping[str, int]) -> None:
    """Set outputs and their names; inputs keep theirs."""
    signature = graph.signatures.get(MAIN_SIGNATURE) or next(iter(graph.signatures.values()), None)
    inputs = signature[0] if signature else {graph.tensors[t].name: t for t in graph.inputs}
    editor.set_outputs(list(outputs.values()))
    editor.set_signature(MAIN_SIGNATURE, inputs=inputs, outputs=outputs)
