"""Does a quantized model still give the float model's answers? Told without labels.

Figures of noise say little of a detector: its boxes and scores may lie close to the float ones on
average, and nothing be found. So the answers themselves are compared, on the calibration images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.contract import Contract
from edgevision.converters.agreement import BoxAgreement, share_equal
from edgevision.converters.ending_check import Found, find_boxes
from edgevision.errors import InvalidModelError, QualityGateError
from edgevision.graph.anchors import Floats
from edgevision.graph.detection_heads import find_heads
from edgevision.graph.graph import Graph
from edgevision.metrics.detection import FoundBoxes
from edgevision.specs import Task

Array = np.ndarray[Any, Any]

# Below these an integer model is no longer the float one. A trained detector keeps more than 0.9 of
# its boxes, a segmenter more than 0.97 of its pixels.
_LEAST = {Task.DETECT: 0.75, Task.SEGMENT: 0.9}
_WHAT = {Task.DETECT: "boxes (F1)", Task.SEGMENT: "pixels"}


def measure_agreement(
    contract: Contract,
    graph: Graph,
    answers: tuple[Sequence[Array], Sequence[Array]],
    *,
    anchors: Floats | None = None,
) -> float | None:
    """Compare what both networks answer.

    Args:
        contract: Of the network.
        graph: The float network without its ending.
        answers: (N, *shape) for each output of the float and of the quantized network.
        anchors: (A, 4) of a detector, in place of the contract's grids.

    Returns:
        Share of equal classes, boxes (F1) or pixels, 0 to 1; ``None`` where neither finds a box,
        or where nobody knows what the outputs mean.
    """
    if contract.task is Task.DETECT:
        return _compare_boxes(contract, graph, answers, anchors)
    if len(answers[0]) != 1:
        return None
    first, second = (_choose_classes(side[0], contract.task) for side in answers)
    return share_equal(first, second)


def check_collapse(task: Task, agreement: float | None) -> None:
    """Refuse a quantized detector or segmenter that does not answer like the float one.

    Raises:
        QualityGateError: With the figure.
    """
    least = _LEAST.get(task)
    if least is None or agreement is None or agreement >= least:
        return
    raise QualityGateError(
        f"the quantized model gives only {agreement:.0%} of the float model's {_WHAT[task]} on the "
        "calibration images, so no file was written",
        received=f"least for this task: {least:.0%}",
        remedy="give more typical images, try --scheme int16x8, or set another limit with "
        "--min-agreement",
    )


def _choose_classes(scores: Array, task: Task) -> Array:
    """Return the best class of each image or pixel, as integers."""
    if task is Task.CLASSIFY:
        scores = scores.reshape(len(scores), -1)
    if scores.shape[-1] == 1:  # one score of a foreground
        scores = np.concatenate((np.zeros_like(scores), scores), axis=-1)
    return np.asarray(scores.argmax(axis=-1))


def _compare_boxes(
    contract: Contract,
    graph: Graph,
    answers: tuple[Sequence[Array], Sequence[Array]],
    anchors: Floats | None,
) -> float | None:
    detection = contract.detection
    if detection is None or (not detection.anchors and anchors is None):
        return None
    try:
        boxes, scores = (graph.outputs.index(tensor) for tensor in find_heads(graph))
    except InvalidModelError:  # another kind of detector
        return None
    laid_out = None if detection.anchors else anchors
    agreement = BoxAgreement()
    for image in range(len(answers[0][0])):
        sides = [
            find_boxes(side[boxes][image, 0], side[scores][image, 0], contract, anchors=laid_out)
            for side in answers
        ]
        agreement.add(*(_as_found(side) for side in sides))
    return agreement.f1 if agreement.any else None


def _as_found(found: Found) -> FoundBoxes:
    boxes, classes, scores = found
    return FoundBoxes(boxes=boxes, classes=np.asarray(classes, np.int64), scores=scores)
