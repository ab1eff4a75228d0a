"""What ONNX detectors and segmenters end in: suppression of boxes, or a map of classes.

A detector's file answers as one with ``TFLite_Detection_PostProcess`` does, from standard
operations: decoding, ``NonMaxSuppression``, and the best boxes of all classes. Raw heads keep their
names inside the file, so that both endings can be taken off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.contract import Detection
from edgevision.errors import InvalidModelError, summarize
from edgevision.graph.anchors import Floats, lay_out_anchors
from edgevision.graph.argmax import CLASS_MAP, SCORE_MAP, check_score_map
from edgevision.graph.detection_heads import BOX_ENCODINGS, CLASS_SCORES, RAW_HEADS, RESULTS

Array = np.ndarray[Any, Any]

# Inside the file all names of an ending begin so.
_PREFIX = "ending_"
_CLASS_LOGITS = "class_logits"
# From this version of the standard operations on.
_AXES_ARE_INPUTS = 18


def append_nms(
    model: bytes, detection: Detection, *, anchors: Floats | None = None, logits: bool = False
) -> bytes:
    """Put decoding and non-maximum suppression behind the raw heads of an ONNX detector.

    Args:
        model: With the outputs ``box_encodings`` (1, A, 4) and ``class_scores`` (1, A, C), float32.
        detection: Anchors, scales and limits.
        anchors: (A, 4) from ``lay_out_anchors``, in place of those of ``detection``.
        logits: Whether the scores still have to go through a sigmoid.

    Returns:
        A model with the outputs ``boxes`` (1, N, 4) as shares of the image, ``classes`` (1, N),
        ``scores`` (1, N) and ``count`` (1,), all float32; zeros beyond ``count``.
    """
    writer = _Writer(model)
    laid_out = lay_out_anchors(detection.anchors) if anchors is None else anchors
    boxes = _decode(writer, laid_out, detection)
    scores = writer.add("Sigmoid", CLASS_SCORES) if logits else CLASS_SCORES
    if detection.background:
        scores = _slice(writer, scores, 1, _END)
    table = writer.add("Transpose", scores, perm=(0, 2, 1))
    select = _select_best_class if detection.class_agnostic else _select_each_class
    _rank(writer, boxes, select(writer, boxes, table, detection), detection.max_detections)
    limit = detection.max_detections
    shapes = ((1, limit, 4), (1, limit), (1, limit), (1,))
    return writer.finish(dict(zip(RESULTS, shapes, strict=True)), "FLOAT")


def append_argmax(model: bytes, axis: int) -> bytes:
    """Let an ONNX segmenter answer the number of the best class of each pixel.

    Args:
        model: With one output of rank 4.
        axis: Of the classes.

    Returns:
        A model with the output ``class_map`` (1, H, W) int64.

    Raises:
        InvalidConfigError: The model does not answer one score per class and pixel.
    """
    writer = _Writer(model)
    shapes = [_read_shape(value) for value in writer.outputs]
    check_score_map(shapes, axis)
    name = writer.rename_output(writer.outputs[0].name, SCORE_MAP)
    writer.add("ArgMax", name, result=CLASS_MAP, axis=axis, keepdims=0)
    shape = tuple(d for i, d in enumerate(shapes[0]) if i != axis)
    return writer.finish({CLASS_MAP: shape}, "INT64")


def detach_ending(model: bytes) -> bytes:
    """Take off what ``append_nms`` or ``append_argmax`` put on.

    A sigmoid that it put on stays: the scores are what the file says that they are.

    Raises:
        InvalidModelError: The model ends in something else.
    """
    writer = _Writer(model)
    _keep_sigmoid(writer)
    written = {name for node in writer.graph.node for name in node.output}
    heads = [name for name in (*RAW_HEADS, SCORE_MAP) if name in written]
    own = [node for node in writer.graph.node if node.name.startswith(_PREFIX)]
    if not own or not heads:
        raise InvalidModelError(
            "only an ending that edgevision wrote can be taken off an ONNX file",
            received=", ".join(value.name for value in writer.outputs),
            remedy="convert from the model that it was made from",
        )
    for node in own:
        writer.graph.node.remove(node)
    return writer.finish_with(heads)


def _keep_sigmoid(writer: _Writer) -> None:
    """Let the sigmoid of an ending, if it has one, give the class scores of the network."""
    for node in writer.graph.node:
        own = node.name.startswith(_PREFIX) and node.op_type == "Sigmoid"
        if own and node.input[0] == CLASS_SCORES:
            result = node.output[0]
            writer.rename_output(CLASS_SCORES, _CLASS_LOGITS)
            writer.rename_output(result, CLASS_SCORES)
            node.name = f"{CLASS_SCORES}_sigmoid"  # the node before it may have that name


def extract_nms(model: bytes) -> bytes:
    """Cut what ``append_nms`` put on out as a model of its own.

    Returns:
        A model with the inputs ``box_encodings`` and ``class_scores``.
    """
    writer = _Writer(model)
    outputs = writer.outputs
    body = [node for node in writer.graph.node if not node.name.startswith(_PREFIX)]
    for node in body:
        writer.graph.node.remove(node)
    return writer.finish_between(RAW_HEADS, [value.name for value in outputs])


_END = 1 << 30


class _Writer:
    """Adds nodes to an ONNX model; every name begins with one prefix."""

    def __init__(self, model: bytes) -> None:
        self.onnx = import_backend("onnx")
        self.proto = self.onnx.load_model_from_string(model)
        self.graph = self.proto.graph
        versions = {entry.domain: int(entry.version) for entry in self.proto.opset_import}
        self.opset = versions.get("", versions.get("ai.onnx", 1))
        self._count = 0
        inferred = self.onnx.shape_inference.infer_shapes(self.proto).graph
        self._shapes = {value.name: value for value in (*inferred.value_info, *inferred.output)}

    @property
    def outputs(self) -> list[Any]:
        """Descriptions of the outputs."""
        return list(self.graph.output)

    def add(self, kind: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Add a node with one result and return its name."""
        return self.add_many(kind, *inputs, results=(result,), **attributes)[0]

    def add_many(
        self, kind: str, *inputs: str, results: Sequence[str] = (), **attributes: Any
    ) -> list[str]:
        """Add a node and return the names of its results, made up where they are empty."""
        self._count += 1
        name = f"{_PREFIX}{kind.lower()}_{self._count}"
        names = [given or f"{name}.{i}" for i, given in enumerate(results)]
        node = self.onnx.helper.make_node(kind, list(inputs), names, name=name, **attributes)
        self.graph.node.append(node)
        return names

    def add_max(self, value: str, *, axis: int) -> str:
        """Add the maximum along an axis, which stays with length 1."""
        if self.opset < _AXES_ARE_INPUTS:
            return self.add("ReduceMax", value, axes=(axis,), keepdims=1)
        return self.add("ReduceMax", value, self.constant([axis], np.int64), keepdims=1)

    def constant(self, values: Any, dtype: Any) -> str:
        """Add a constant and return its name."""
        self._count += 1
        name = f"{_PREFIX}constant_{self._count}"
        array = np.asarray(values, dtype)
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def rename_output(self, old: str, new: str) -> str:
        """Give the value behind an output another name."""
        for node in self.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = new if name == old else name
        return new

    def finish(self, outputs: dict[str, tuple[int, ...]], dtype: str) -> bytes:
        """Replace the outputs and serialize."""
        kind = getattr(self.onnx.TensorProto, dtype)
        described = [
            self.onnx.helper.make_tensor_value_info(name, kind, shape)
            for name, shape in outputs.items()
        ]
        return self._serialize(described)

    def finish_with(self, names: Sequence[str]) -> bytes:
        """Make inner values the outputs, drop unused constants, and serialize."""
        used = {name for node in self.graph.node for name in node.input}
        for tensor in [t for t in self.graph.initializer if t.name not in used]:
            self.graph.initializer.remove(tensor)
        del self.graph.output[:]
        return self._serialize([self._shapes[name] for name in names])

    def finish_between(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """Make inner values the inputs too."""
        del self.graph.input[:]
        self.graph.input.extend(self._shapes[name] for name in inputs)
        return self.finish_with(outputs)

    def _serialize(self, outputs: Sequence[Any]) -> bytes:
        copies = [type(value).FromString(value.SerializeToString()) for value in outputs]
        del self.graph.output[:]
        self.graph.output.extend(copies)
        checker = self.onnx.checker
        try:
            checker.check_model(self.proto, full_check=True)
        except (checker.ValidationError, self.onnx.shape_inference.InferenceError) as error:
            raise InvalidModelError(
                "the ONNX model is not valid", received=summarize(error)
            ) from error
        return bytes(self.proto.SerializeToString(deterministic=True))


def _decode(writer: _Writer, anchors: Floats, detection: Detection) -> str:
    """Turn encodings into boxes (1, A, 4), as ``graph.anchors.decode_boxes`` does."""
    offsets = writer.add(
        "Div", BOX_ENCODINGS, writer.constant([[detection.box_scales]], np.float32)
    )
    centers, sizes = (writer.constant(anchors[None, :, part], np.float32) for part in _HALVES)
    moved = writer.add("Mul", _slice(writer, offsets, 0, 2), sizes)
    moved = writer.add("Add", moved, centers)
    grown = writer.add("Exp", _slice(writer, offsets, 2, 4))
    grown = writer.add("Mul", grown, sizes)
    halves = writer.add("Div", grown, writer.constant(2, np.float32))
    corners = (writer.add(kind, moved, halves) for kind in ("Sub", "Add"))
    return writer.add("Concat", *corners, axis=2)


_HALVES = (slice(0, 2), slice(2, 4))


def _slice(writer: _Writer, value: str, start: int, stop: int) -> str:
    """Cut along the last of three axes."""
    bounds = (writer.constant([n], np.int64) for n in (start, stop, 2))
    return writer.add("Slice", value, *bounds)


def _select_each_class(
    writer: _Writer, boxes: str, table: str, detection: Detection
) -> tuple[str, str, str]:
    """Suppress class by class; return scores, classes and anchors of what stays, (S,) each."""
    chosen = _suppress(writer, boxes, table, detection)
    scores = writer.add("GatherND", table, chosen)
    return scores, _take_column(writer, chosen, 1), _take_column(writer, chosen, 2)


def _select_best_class(
    writer: _Writer, boxes: str, table: str, detection: Detection
) -> tuple[str, str, str]:
    """Suppress all classes together: each anchor stands for its best class."""
    best = writer.add_max(table, axis=1)
    chosen = _suppress(writer, boxes, best, detection)
    scores = writer.add("GatherND", best, chosen)
    anchors = _take_column(writer, chosen, 2)
    classes = writer.add("ArgMax", table, axis=1, keepdims=0)
    classes = writer.add("Gather", _flatten(writer, classes), anchors, axis=0)
    return scores, classes, anchors


def _suppress(writer: _Writer, boxes: str, table: str, detection: Detection) -> str:
    """Return (S, 3) int64: image, class and anchor of every box that stays."""
    return writer.add(
        "NonMaxSuppression",
        boxes,
        table,
        writer.constant([detection.max_detections], np.int64),
        writer.constant([detection.iou_threshold], np.float32),
        # ONNX leaves out what equals the threshold; TensorFlow Lite and we keep it.
        writer.constant([_step_below(detection.score_threshold)], np.float32),
    )


def _step_below(threshold: float) -> float:
    """Return the next smaller float32; of 0 one that no processor rounds to 0."""
    if threshold <= 0:
        return -1e-9
    return float(np.nextafter(np.float32(threshold), np.float32(-1)))


def _take_column(writer: _Writer, chosen: str, column: int) -> str:
    return writer.add("Gather", chosen, writer.constant(column, np.int64), axis=1)


def _flatten(writer: _Writer, value: str) -> str:
    return writer.add("Reshape", value, writer.constant([-1], np.int64))


def _rank(writer: _Writer, boxes: str, found: tuple[str, str, str], limit: int) -> None:
    """Write the best boxes of all classes to the outputs, with zeros to the limit."""
    scores, classes, anchors = found
    # Filled up first: the number of boxes that stay is not known, that of outputs is.
    filled = _fill(writer, scores, np.full(limit, -1, np.float32))
    size = writer.constant([limit], np.int64)
    top, order = writer.add_many(
        "TopK", filled, size, results=("", ""), axis=0, largest=1, sorted=1
    )
    zero = writer.constant(0, np.float32)
    valid = writer.add("Cast", writer.add("GreaterOrEqual", top, zero), to=_float(writer))
    padding = np.zeros(limit, np.int64)
    kept = [
        writer.add("Gather", _fill(writer, v, padding), order, axis=0) for v in (classes, anchors)
    ]
    labels = writer.add("Mul", writer.add("Cast", kept[0], to=_float(writer)), valid)
    placed = writer.add("Gather", boxes, kept[1], axis=1)
    column = writer.add("Reshape", valid, writer.constant([1, limit, 1], np.int64))
    writer.add("Mul", placed, column, result=RESULTS[0])
    row = writer.constant([1, limit], np.int64)
    writer.add("Reshape", labels, row, result=RESULTS[1])
    writer.add("Reshape", writer.add("Mul", top, valid), row, result=RESULTS[2])
    axes = writer.constant([0], np.int64)
    writer.add("ReduceSum", valid, axes, result=RESULTS[3], keepdims=1)


def _fill(writer: _Writer, values: str, padding: Array) -> str:
    return writer.add("Concat", values, writer.constant(padding, padding.dtype), axis=0)


def _float(writer: _Writer) -> int:
    return int(writer.onnx.TensorProto.FLOAT)


def _read_shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
