"""Non-maximum suppression inside a ``.tflite``: the custom operation of detectors, put on and off.

``TFLite_Detection_PostProcess`` (TensorFlow Lite, ``kernels/detection_postprocess.cc``) decodes the
raw heads against its anchors and leaves the best boxes. It takes floats, so that int8 heads keep a
scale each, and decoding loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgevision.contract import AnchorGrid, Detection
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.anchors import Floats, lay_out_anchors
from edgevision.graph.detection_heads import BOX_ENCODINGS, CLASS_SCORES, RESULTS, find_heads
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.flexbuffers import Number, read_numbers, write_numbers
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite import read_tflite
from edgevision.graph.tflite_schema import DETECTION_POSTPROCESS

MAIN_SIGNATURE = "serving_default"

_SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")
# From which version on DEQUANTIZE reads the type.
_DEQUANTIZE_VERSIONS = {"uint8": 1, "int8": 2, "int16": 3}
# How far anchors may lie from the grid that they are taken for, in shares of the image.
_GRID_TOLERANCE = 1e-4


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
    outputs = _add_results(editor, detection.max_detections)
    editor.add_op(
        f"CUSTOM:{DETECTION_POSTPROCESS}",
        [boxes, scores, editor.add_tensor("anchors", data=laid_out)],
        outputs,
        custom_options=write_numbers(_describe_options(detection, num_classes)),
    )
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
    heads = [t if keep_floats else _skip_dequantize(graph, t) for t in op.inputs[:2]]
    if any(graph.tensors[t].constant for t in heads):
        raise InvalidModelError("the heads of the detector are constants", received=op.name)
    editor = ModelEditor(model)
    editor.cut(graph.inputs, heads)
    _name_ends(editor, graph, dict(zip((BOX_ENCODINGS, CLASS_SCORES), heads, strict=True)))
    editor.remove_unused()
    return editor.to_bytes()


def get_postprocess(graph: Graph) -> Op:
    """Return the operation that suppresses boxes.

    Raises:
        InvalidModelError: There is none, or it lacks inputs or outputs.
    """
    found = [op for op in graph.ops if op.kind is OpKind.DETECTION_POSTPROCESS]
    if not found:
        raise InvalidModelError(
            f"the model does not end in {DETECTION_POSTPROCESS}", received=graph.name
        )
    op = found[-1]
    if len(op.inputs) != 3 or len(op.outputs) != 4 or min(op.inputs) < 0:
        raise InvalidModelError(
            f"{DETECTION_POSTPROCESS} has three inputs and four outputs",
            received=f"{len(op.inputs)} and {len(op.outputs)}",
        )
    return op


def read_detection(graph: Graph) -> Detection:
    """Read from the operation what it does; anchors only where they form regular grids.

    Raises:
        InvalidModelError: There is no such operation, or its settings are damaged.
    """
    op = get_postprocess(graph)
    options = _read_options(op)
    num_scores = graph.tensors[op.inputs[1]].shape[-1:]
    scales = tuple(float(options.get(name, 0)) for name in _SCALES)
    try:
        return Detection(
            anchors=fit_grids(read_anchors(graph)),
            box_scales=(scales[0], scales[1], scales[2], scales[3]),
            background=num_scores != (count_object_classes(graph),),
            score_threshold=min(max(float(options.get("nms_score_threshold", 0)), 0.0), 1.0),
            iou_threshold=float(options.get("nms_iou_threshold", 0)),
            max_detections=int(options.get("max_detections", 0)),
            class_agnostic=not options.get("use_regular_nms", False),
        )
    except InvalidConfigError as error:
        raise InvalidModelError(
            f"{DETECTION_POSTPROCESS} has impossible settings", received=error.received
        ) from error


def count_object_classes(graph: Graph) -> int:
    """Return how many classes the operation tells apart; the background does not count."""
    return int(_read_options(get_postprocess(graph)).get("num_classes", 0))


def read_anchors(graph: Graph) -> Floats:
    """Return the anchors of the operation: (A, 4) float32, none where they are no constant."""
    tensor = graph.tensors[get_postprocess(graph).inputs[2]]
    if tensor.data is None or tensor.data.ndim != 2 or tensor.data.shape[1] != 4:
        return np.zeros((0, 4), np.float32)
    values = tensor.data.astype(np.float32)
    if tensor.quantization is not None:
        values -= np.float32(tensor.quantization.zero_points[0])
        values *= np.float32(tensor.quantization.scales[0])
    return values


def fit_grids(anchors: Floats) -> tuple[AnchorGrid, ...]:
    """Find the grids that anchors were laid out from; none where they are not regular.

    Args:
        anchors: (A, 4) centre y, centre x, height, width, as shares of the image.

    >>> grid = AnchorGrid(size=(2, 3), boxes=((0.5, 0.25), (0.25, 0.25)))
    >>> fit_grids(lay_out_anchors([grid])) == (grid,)
    True
    """
    grids: list[AnchorGrid] = []
    position = 0
    while position < len(anchors):
        grid = _fit_grid(anchors[position:])
        if grid is None:
            return ()
        grids.append(grid)
        position += grid.size[0] * grid.size[1] * len(grid.boxes)
    return tuple(grids)


def _fit_grid(anchors: Floats) -> AnchorGrid | None:
    """Take the first anchors for the upper left cell of a grid, and check the others."""
    center = anchors[0, :2]
    if not np.isfinite(anchors).all() or anchors[:, 2:].min() <= 0 or center.min() <= 0:
        return None
    others = np.flatnonzero(np.abs(anchors[:, :2] - center).max(axis=1) > _GRID_TOLERANCE)
    num_boxes = int(others[0]) if len(others) else len(anchors)
    rows, columns = (max(round(0.5 / float(c)), 1) for c in center)
    count = rows * columns * num_boxes
    if count > len(anchors):
        return None
    boxes = tuple((float(h), float(w)) for h, w in anchors[:num_boxes, 2:])
    grid = AnchorGrid(size=(rows, columns), boxes=boxes)
    error = np.abs(lay_out_anchors([grid]) - anchors[:count]).max()
    return grid if error <= _GRID_TOLERANCE else None


def _read_options(op: Op) -> dict[str, Number]:
    return read_numbers(op.attributes.get("custom_options", b""))


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


def _skip_dequantize(graph: Graph, tensor: int) -> int:
    producer = graph.producers.get(tensor)
    if producer is None or graph.ops[producer].kind is not OpKind.DEQUANTIZE:
        return tensor
    source = graph.ops[producer].inputs[0]
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
