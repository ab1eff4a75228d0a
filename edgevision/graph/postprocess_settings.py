"""What ``TFLite_Detection_PostProcess`` in a ``.tflite`` says about its detector."""

from __future__ import annotations

import numpy as np

from edgevision.contract import AnchorGrid, Detection
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.anchors import Floats, lay_out_anchors
from edgevision.graph.detection_heads import RESULTS
from edgevision.graph.flexbuffers import Number, read_numbers
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite_schema import DETECTION_POSTPROCESS

_SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")
# How far anchors may lie from the grid that they are taken for, in shares of the image.
_GRID_TOLERANCE = 1e-4


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
    num_scores = graph.tensors[skip_spare(graph, op)[0]].shape[-1:]
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
    """Return how many classes a detector tells apart; background and spare ones do not count."""
    op = get_postprocess(graph)
    return int(_read_options(op).get("num_classes", 0)) - skip_spare(graph, op)[1]


def limit_threads(graph: Graph, threads: int) -> int:
    """Return how many threads, at most those asked for, lose no box of a file.

    Class-wise suppression with N threads leaves out class N (see ``postprocess``): harmless where
    that is a spare one, or where there is no such class.

    Args:
        graph: The network of a ``.tflite``, a detector or not.
        threads: Threads that somebody would like, 1 or more.
    """
    if not any(op.kind is OpKind.DETECTION_POSTPROCESS for op in graph.ops):
        return threads
    op = get_postprocess(graph)
    options, num_spare = _read_options(op), skip_spare(graph, op)[1]
    lost = num_spare <= threads < int(options.get("num_classes", 0))
    if threads == 1 or not lost or not options.get("use_regular_nms", False):
        return threads
    return max(num_spare - 1, 1)


def find_results(graph: Graph) -> dict[str, int]:
    """Return the tensors of boxes, classes, scores and count by name, whatever their order."""
    op = get_postprocess(graph)
    tensors = list(op.outputs)
    readers = graph.consumers.get(tensors[1], ())
    if skip_spare(graph, op)[1] and len(readers) == 1:
        tensors[1] = graph.ops[readers[0]].outputs[0]
    return dict(zip(RESULTS, tensors, strict=True))


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


def skip_spare(graph: Graph, op: Op) -> tuple[int, int]:
    """Return the tensor of the scores before spare classes were added, and the number of those.

    Args:
        graph: The network.
        op: From ``get_postprocess``.
    """
    scores = op.inputs[1]
    pad = find_producer(graph, scores, OpKind.PAD)
    margins = graph.tensors[pad.inputs[1]].data if pad is not None and len(pad.inputs) > 1 else None
    if pad is None or margins is None or margins.shape != (3, 2):
        return scores, 0
    before = pad.inputs[0]
    cut = find_producer(graph, before, OpKind.SLICE)
    return (before if cut is None else cut.inputs[0]), int(margins[2, 0])


def find_producer(graph: Graph, tensor: int, kind: OpKind) -> Op | None:
    """Return the operation that writes a tensor, if it is of that kind."""
    index = graph.producers.get(tensor)
    return graph.ops[index] if index is not None and graph.ops[index].kind is kind else None
