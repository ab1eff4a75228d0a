"""A classifier: an image of any size in, the best classes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.metrics.classification import softmax
from edgevision.runtime.predictor import (
    Outputs,
    Pixels,
    Predictor,
    check_threshold,
    check_top_k,
    dequantize,
    name_class,
    take_single,
)
from edgevision.runtime.results import Classification, Prediction
from edgevision.runtime.session import Session
from edgevision.specs import ScoreKind, TensorSpec

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource

__all__ = ["Classifier", "dequantize", "find_best"]

Scores = NDArray[np.float32]

_FEW = 10
"""Up to so many classes it is faster to look for the best one repeatedly than to sort."""


class Classifier(Predictor):
    """Classifies images with a deployed model file, following the model's own contract.

    Threads may share a classifier: their calls run one after another. For calls that run at the
    same time, load the file once per thread.

    Args:
        session: The model.
        contract: What the model says about itself; ``edgevision.load`` reads it from the file.

    Raises:
        UnsupportedOpError: The model has more than one input or output, or no row of scores.
        InvalidModelError: The contract's labels do not match the number of outputs.
    """

    def __init__(self, session: Session, contract: Contract) -> None:
        super().__init__(session, contract)
        self._output = take_single(session.outputs, "output")
        self.num_classes = _count_classes(self._output) or self._probe_classes()
        self._labels = _complete_labels(contract.labels, self.num_classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class, ``class 3`` where the model carries none."""
        return self._labels

    def predict(
        self, image: ImageSource, top_k: int = 5, *, threshold: float = 0.0
    ) -> Classification:
        """Classify one image.

        Args:
            image: A path, the bytes of an image file, a PIL image, or a uint8 (H, W, 3) RGB array.
            top_k: How many classes to return, at most all.
            threshold: Leave out classes that score below this.

        Returns:
            The ``top_k`` best classes, best first; equal scores in the order of the output.

        Raises:
            DataError: The image is broken or of an unknown kind.
            MissingFileError: There is no such file.
            InvalidConfigError: ``top_k`` is below 1, or ``threshold`` not in [0, 1].
        """
        check_top_k(top_k)
        check_threshold(threshold)
        return self._rank(self.scores(image), top_k, threshold)

    def predict_batch(
        self, images: Iterable[ImageSource], top_k: int = 5, *, threshold: float = 0.0
    ) -> list[Classification]:
        """Classify many images; the next ones are decoded while the model runs.

        Args:
            images: As for ``predict``; a generator is consumed as it goes.
            top_k: How many classes to return for each.
            threshold: Leave out classes that score below this.

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
        top_k: int = 5,
        *,
        threshold: float = 0.0,
        threads: int | None = None,
    ) -> Iterator[Classification]:
        """Yield the answers to many images, decoding ahead in threads.

        Args:
            images: As for ``predict``.
            top_k: As for ``predict``.
            threshold: As for ``predict``.
            threads: Decoding threads; by default one per usable core, at most 4.
        """
        check_top_k(top_k)
        check_threshold(threshold)
        return (
            self._rank(s, top_k, threshold) for s in self.iterate_scores(images, threads=threads)
        )

    def scores(self, image: ImageSource) -> Scores:
        """Return the score of every class for one image.

        Args:
            image: As for ``predict``.

        Returns:
            (num_classes,) float32: probabilities, or what a model without softmax gives.
        """
        return self._score(self._prepare(image))

    def iterate_scores(
        self, images: Iterable[ImageSource], *, threads: int | None = None
    ) -> Iterator[Scores]:
        """Yield the scores of many images, decoding ahead in threads.

        Args:
            images: As for ``predict``.
            threads: Decoding threads; by default one per usable core, at most 4.
        """
        return map(self._score, self._prepare_ahead(images, threads))

    def _score(self, pixels: Pixels) -> Scores:
        return self._read(self._run(pixels))

    def _read(self, outputs: Outputs) -> Scores:
        raw = outputs[self._output.name]
        scores = dequantize(raw.reshape(-1, raw.shape[-1])[0], self._output.quantization)
        if self.contract.scores is ScoreKind.LOGITS:
            return softmax(scores).astype(np.float32)
        return scores

    def _rank(self, scores: Scores, top_k: int, threshold: float) -> Classification:
        predictions = tuple(
            Prediction(label=self._labels[i], index=i, score=float(scores[i]))
            for i in find_best(scores, top_k).tolist()
        )
        answer = Classification(predictions=predictions)
        return answer.above(threshold) if threshold > 0 else answer

    def _probe_classes(self) -> int:
        """Run once where the file does not state the length of its output."""
        size = self._preprocess.size
        black = Pixels(np.zeros((*size, 3), np.uint8), size)
        return int(self._run(black)[self._output.name].shape[-1])


def find_best(scores: Scores, top_k: int) -> NDArray[np.intp]:
    """Return the indices of the ``top_k`` highest scores, highest first.

    Equal scores keep their order, whatever ``top_k`` is: int8 models have many.

    Args:
        scores: (N,) numbers.
        top_k: At least 1; more than N means N.

    Returns:
        (min(top_k, N),) indices.

    >>> find_best(np.float32([0.1, 0.4, 0.1, 0.4]), 3).tolist()
    [1, 3, 0]
    """
    if top_k > _FEW:
        return np.argsort(-scores, kind="stable")[:top_k]
    left, best = scores.copy(), []
    for _ in range(min(top_k, len(scores))):
        index = left.argmax()
        if not left[index] > -np.inf:  # infinite or not a number: no mark would be left for "taken"
            return np.argsort(-scores, kind="stable")[:top_k]
        best.append(index)
        left[index] = -np.inf
    return np.array(best)


def _count_classes(output: TensorSpec) -> int:
    """Return the length of the row of scores, 0 where the file does not state it."""
    shape = output.shape
    inner = [d for d in shape[1:-1] if d not in (1, -1)]
    if not shape or inner:
        raise UnsupportedOpError(
            "a classifier's output is one row of scores",
            received=f"{output.name}: shape={shape}",
            remedy="if it detects or segments, load it with that task",
        )
    return max(prod(shape[-1:]), 0)


def _complete_labels(labels: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    if not labels:
        return tuple(name_class((), i) for i in range(num_classes))
    if len(labels) != num_classes:
        raise InvalidModelError(
            "a model has one label per class",
            received=f"{len(labels)} labels for {num_classes} classes",
            remedy="give the right list of labels",
        )
    return labels
