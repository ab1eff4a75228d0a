"""A detector: an image of any size in, the objects on it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract, Detection
from edgevision.graph.anchors import decode_boxes, lay_out_anchors
from edgevision.graph.detection_heads import BOX_ENCODINGS, CLASS_SCORES
from edgevision.runtime.detector_outputs import complete_labels, find_outputs
from edgevision.runtime.nms import suppress
from edgevision.runtime.predictor import (
    Outputs,
    Pixels,
    Predictor,
    check_threshold,
    check_top_k,
    dequantize,
    name_class,
)
from edgevision.runtime.results import Detections
from edgevision.runtime.session import Session
from edgevision.specs import ScoreKind

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource
    from edgevision.graph.graph import Graph

DEFAULT_THRESHOLD = 0.3
"""What a person wants to see; the files themselves give everything down to 0.01 or less."""

Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Boxes (N, 4) as shares of the input, scores (N,) and classes (N,)."""


class Detector(Predictor):
    """Finds objects with a deployed model file, following the model's own contract.

    Files that end in non-maximum suppression answer boxes; of raw heads, boxes are decoded and
    suppressed here, by the same rules. Threads may share a detector: their calls run one after
    another.

    Args:
        session: The model.
        contract: What the model says about itself; ``edgevision.load`` reads it from the file.
        graph: The network in the file: tells the outputs apart where their names do not.

    Raises:
        UnsupportedOpError: The model has more than one input.
        InvalidModelError: The outputs are not those of a detector, anchors are missing or do not
            fit, or there are more or fewer labels than classes.
    """

    def __init__(self, session: Session, contract: Contract, graph: Graph | None = None) -> None:
        super().__init__(session, contract)
        self._graph = graph
        self._outputs = find_outputs(session.outputs, contract, graph)
        self._labels = complete_labels(contract, self._outputs.num_classes)
        self._rules = contract.detection or Detection()
        self._anchors = lay_out_anchors(self._rules.anchors)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class of objects; empty where neither names nor number are known."""
        return self._labels

    @property
    def num_classes(self) -> int:
        """Number of object classes, without background; 0 where it is unknown."""
        return self._outputs.num_classes or len(self._labels)

    def predict(
        self, image: ImageSource, top_k: int | None = None, *, threshold: float | None = None
    ) -> Detections:
        """Find the objects on one image.

        Args:
            image: A path, the bytes of an image file, a PIL image, or a uint8 (H, W, 3) RGB array.
            top_k: How many objects to return at most; by default all that the model gives.
            threshold: Leave out objects that score below this; by default 0.3. What scores below
                the contract's own ``score_threshold`` is never there.

        Returns:
            The objects, best first.

        Raises:
            DataError: The image is broken or of an unknown kind.
            MissingFileError: There is no such file.
            InvalidConfigError: ``top_k`` is below 1, or ``threshold`` not in [0, 1].
        """
        limits = _check_limits(top_k, threshold)
        return self._detect(self._prepare(image), *limits)

    def predict_batch(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = None,
        *,
        threshold: float | None = None,
    ) -> list[Detections]:
        """Find the objects on many images; the next ones are decoded while the model runs.

        Args:
            images: As for ``predict``; a generator is consumed as it goes.
            top_k: How many objects to return for each at most.
            threshold: As for ``predict``.

        Returns:
            One answer per image, in order. Only the answers are kept in memory.

        Raises:
            DataError: An image is broken; it is named.
            InvalidConfigError: ``top_k`` is below 1, or ``threshold`` not in [0, 1].
        """
        return list(self.iterate(images, top_k, threshold=threshold))

    def iterate(
        self,
        images: Iterable[ImageSource],
        top_k: int | None = None,
        *,
        threshold: float | None = None,
        threads: int | None = None,
    ) -> Iterator[Detections]:
        """Yield the objects on many images, decoding ahead in threads.

        Args:
            images: As for ``predict``.
            top_k: As for ``predict``.
            threshold: As for ``predict``.
            threads: Decoding threads; by default one per usable core, at most 4.
        """
        limits = _check_limits(top_k, threshold)
        return (self._detect(p, *limits) for p in self._prepare_ahead(images, threads))

    def relax(self, *, score_threshold: float, max_detections: int) -> Detector:
        """Return this detector with weaker limits, for measuring accuracy.

        Limits that are part of the file stay: its own non-maximum suppression knows no others.

        Args:
            score_threshold: Boxes of raw heads count from this score on, or from the contract's
                where that is lower.
            max_detections: At least so many boxes of raw heads per image.
        """
        rules = replace(
            self._rules,
            score_threshold=min(score_threshold, self._rules.score_threshold),
            max_detections=max(max_detections, self._rules.max_detections),
        )
        relaxed = Detector(self.session, replace(self.contract, detection=rules), self._graph)
        relaxed._lock = self._lock  # it is the same session
        return relaxed

    def _detect(self, pixels: Pixels, top_k: int | None, threshold: float) -> Detections:
        read = self._read_raw if self._outputs.raw else self._read_results
        lowest = max(threshold, self._rules.score_threshold)
        boxes, scores, classes = read(self._run(pixels), lowest)
        geometry = self._preprocess.geometry(pixels.image_size)
        placed = geometry.to_original(boxes * (self._preprocess.size * 2))
        # What lies beyond the image, in the margin of a letterbox, has no area left.
        rows = np.flatnonzero((placed[:, 2:] > placed[:, :2]).all(axis=1))[:top_k]
        names = tuple(name_class(self._labels, c) for c in classes[rows].tolist())
        return Detections(
            boxes=placed[rows],
            scores=scores[rows],
            classes=classes[rows],
            labels=names,
            image_size=pixels.image_size,
        )

    def _read_results(self, outputs: Outputs, threshold: float) -> Found:
        """Take what the file's own non-maximum suppression left."""
        specs = self._outputs.specs
        count = int(outputs[specs["count"].name].reshape(-1)[0])
        boxes = outputs[specs["boxes"].name].reshape(-1, 4)[:count]
        scores = outputs[specs["scores"].name].reshape(-1)[:count]
        classes = outputs[specs["classes"].name].reshape(-1)[:count]
        best = np.argsort(-scores, kind="stable")[: self._rules.max_detections]
        best = best[scores[best] >= threshold]
        return boxes[best], scores[best].astype(np.float32), classes[best].astype(np.int64)

    def _read_raw(self, outputs: Outputs, threshold: float) -> Found:
        """Decode and suppress the boxes of raw heads."""
        rules = self._rules
        score_spec, box_spec = self._outputs.specs[CLASS_SCORES], self._outputs.specs[BOX_ENCODINGS]
        table = dequantize(outputs[score_spec.name][0], score_spec.quantization)
        if rules.background:
            table = table[:, 1:]
        rows, classes, scores = self._find_candidates(table, threshold)
        encodings = dequantize(outputs[box_spec.name][0][rows], box_spec.quantization)
        boxes = decode_boxes(encodings, self._anchors[rows], rules.box_scales)
        kept = suppress(
            boxes,
            scores,
            None if rules.class_agnostic else classes,
            iou_threshold=rules.iou_threshold,
            max_detections=rules.max_detections,
        )
        return boxes[kept], scores[kept], classes[kept]

    def _find_candidates(
        self, table: NDArray[np.float32], lowest: float
    ) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float32]]:
        """Find anchors, classes and scores that are high enough.

        Class-wise, an anchor counts once for each class; otherwise for its best class only.
        """
        logits = self.contract.scores is ScoreKind.LOGITS
        bar = _invert_sigmoid(lowest) if logits else np.float32(lowest)
        if self._rules.class_agnostic:
            best = table.argmax(axis=1)
            rows = np.flatnonzero(table[np.arange(len(table)), best] >= bar)
            classes = best[rows]
        else:
            rows, classes = np.divmod(np.flatnonzero(table.reshape(-1) >= bar), table.shape[1])
            # The operation goes class after class, and equal scores keep that order.
            order = np.argsort(classes.astype(np.int16), kind="stable")
            rows, classes = rows[order], classes[order]
        scores = table[rows, classes]
        return rows, classes.astype(np.int64), _squash(scores) if logits else scores


def _check_limits(top_k: int | None, threshold: float | None) -> tuple[int | None, float]:
    if top_k is not None:
        check_top_k(top_k)
    return top_k, check_threshold(DEFAULT_THRESHOLD if threshold is None else threshold)


def _squash(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logistic sigmoid, without overflow."""
    half = np.float32(0.5)
    squashed: NDArray[np.float32] = half * np.tanh(half * logits) + half
    return squashed


def _invert_sigmoid(score: float) -> np.float32:
    """Return the logit of a score, infinite at 0 and 1."""
    if 0 < score < 1:
        return np.float32(np.log(score / (1 - score)))
    return np.float32(np.inf if score else -np.inf)
