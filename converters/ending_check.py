"""The check of an ending: does the finished file answer what its own raw outputs say?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract, Detection
from edgevision.converters.parity import Arrays, Runner, draw_inputs
from edgevision.errors import QualityGateError
from edgevision.graph.anchors import Floats, decode_boxes, lay_out_anchors
from edgevision.graph.detection_heads import (
    BOX_ENCODINGS,
    CLASS_SCORES,
    RAW_HEADS,
    RESULTS,
    pair_heads,
)
from edgevision.metrics.detection import box_iou
from edgevision.runtime.nms import suppress
from edgevision.runtime.predictor import dequantize
from edgevision.specs import ScoreKind, TensorSpec

Found = tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32]]
"""Boxes (N, 4) as shares of the image, classes (N,) and scores (N,)."""

NUM_SAMPLES = 3
# Overlaps and scores just at a threshold may fall either way.
MIN_EQUAL = 0.95
_MIN_IOU = 0.99
_MAX_SCORE_ERROR = 1e-3
_SEED = 4


def check_nms(ending: Runner, contract: Contract, *, anchors: Floats | None = None) -> float:
    """Compare the suppression in a file with our own, on random heads.

    What an untrained or quantized network answers does not do: where many scores are equal, any
    of the boxes may stay.

    Args:
        ending: What stands between the raw heads and the results.
        contract: Of the network with raw heads.
        anchors: (A, 4) in place of the contract's grids.

    Returns:
        Share of equal boxes.

    Raises:
        QualityGateError: They are not the same.
    """
    rng = np.random.default_rng(_SEED)
    logits = contract.scores is ScoreKind.LOGITS
    shares = []
    for _ in range(NUM_SAMPLES):
        boxes, scores = (rng.normal(size=shape).astype(np.float32) for shape in _shapes(ending))
        if not logits:
            scores = (0.5 * np.tanh(0.5 * scores) + 0.5).astype(np.float32)
        received = ending.run({BOX_ENCODINGS: boxes, CLASS_SCORES: scores})
        own = find_boxes(boxes[0], scores[0], contract, anchors=anchors)
        shares.append(compare_boxes(own, read_results(received)))
    return _require_equal(min(shares))


def check_argmax(body: Runner, finished: Runner, contract: Contract) -> float:
    """Compare the class map of a file with the best of its scores.

    Args:
        body: Answers the scores.
        finished: Answers the class map.
        contract: How images become the input.

    Returns:
        Share of equal pixels.

    Raises:
        QualityGateError: They are not the same.
    """
    shares = []
    for inputs in draw_inputs(body.inputs, contract, [None] * NUM_SAMPLES):
        (scores,), (classes,) = body.run(inputs).values(), finished.run(inputs).values()
        axis = next(a for a in (3, 1) if np.delete(scores.shape, a).tolist() == [*classes.shape])
        shares.append(float(np.mean(scores.argmax(axis) == classes)))
    return _require_equal(min(shares))


def _shapes(ending: Runner) -> list[tuple[int, ...]]:
    known = {spec.name: spec.shape for spec in ending.inputs}
    return [known[name] for name in RAW_HEADS]


def _require_equal(share: float) -> float:
    if share >= MIN_EQUAL:
        return share
    raise QualityGateError(
        "the ending does not answer what the raw outputs say",
        received=f"{share:.1%} equal, {MIN_EQUAL:.0%} are needed",
        remedy="nothing was written; convert with --heads raw, or without --argmax",
    )


def read_heads(
    specs: Sequence[TensorSpec], outputs: Arrays
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the box encodings (A, 4) and class scores (A, C) of one image, dequantized."""
    order = pair_heads([s.name for s in specs], [s.shape for s in specs])
    boxes, scores = (dequantize(outputs[specs[i].name][0], specs[i].quantization) for i in order)
    return boxes, scores


def read_results(outputs: Arrays) -> Found:
    """Return what the suppression in a file left."""
    boxes, classes, scores, count = (outputs[name] for name in RESULTS)
    valid = slice(int(count.reshape(-1)[0]))
    return boxes[0, valid], classes[0, valid], scores[0, valid]


def find_boxes(
    encodings: NDArray[np.float32],
    scores: NDArray[np.float32],
    contract: Contract,
    *,
    anchors: Floats | None = None,
) -> Found:
    """Decode and suppress the raw heads of one image by the contract's rules.

    Args:
        encodings: (A, 4).
        scores: (A, C), probabilities or logits as the contract says.
        contract: Of a detector.
        anchors: (A, 4) in place of the contract's grids.
    """
    rules = contract.detection or Detection()
    laid_out = lay_out_anchors(rules.anchors) if anchors is None else anchors
    table = scores[:, int(rules.background) :]
    if contract.scores is ScoreKind.LOGITS:
        table = (0.5 * np.tanh(0.5 * table) + 0.5).astype(np.float32)
    if rules.class_agnostic:
        best = table.argmax(axis=1)
        rows = np.flatnonzero(table.max(axis=1) >= np.float32(rules.score_threshold))
        classes = best[rows]
    else:
        rows, classes = np.nonzero(table >= np.float32(rules.score_threshold))
    boxes = decode_boxes(encodings[rows], laid_out[rows], rules.box_scales)
    kept = suppress(
        boxes,
        table[rows, classes],
        None if rules.class_agnostic else classes,
        iou_threshold=rules.iou_threshold,
        max_detections=rules.max_detections,
    )
    return boxes[kept], classes[kept], table[rows, classes][kept]


def compare_boxes(expected: Found, received: Found) -> float:
    """Return the share of boxes, of the side that has more, with an equal one on the other."""
    most = max(len(expected[0]), len(received[0]))
    if not most:
        return 1.0
    alike = box_iou(expected[0], received[0]) >= _MIN_IOU
    alike &= expected[1][:, None] == received[1][None]
    alike &= np.abs(expected[2][:, None] - received[2][None]) <= _MAX_SCORE_ERROR
    return float(min(alike.any(axis=1).sum(), alike.any(axis=0).sum()) / most)
