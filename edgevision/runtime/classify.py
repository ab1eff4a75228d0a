"""A classifier: an image of any size in, the best classes out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract
from edgevision.data.ahead import map_ahead
from edgevision.data.images import decode_image
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.metrics.classification import softmax
from edgevision.runtime.results import Classification, Prediction
from edgevision.runtime.session import Session
from edgevision.specs import Quantization, ScoreKind, TensorSpec
from edgevision.threads import count_cores

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource

Array = NDArray[Any]
Scores = NDArray[np.float32]

_FEW = 10
"""Up to so many classes it is faster to look for the best one repeatedly than to sort."""


class Classifier:
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
        self.session = session
        self.contract = contract
        self._preprocess = Preprocessor(contract.preprocessing, _take_single(session.inputs))
        self._input_name = session.inputs[0].name
        self._output = _take_single(session.outputs)
        self._lock = threading.Lock()
        self.num_classes = _count_classes(self._output) or self._probe_classes()
        self._labels = _complete_labels(contract.labels, self.num_classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class, ``class 3`` where the model carries none."""
        return self._labels

    def predict(self, image: ImageSource, top_k: int = 5) -> Classification:
        """Classify one image.

        Args:
            image: A path, the bytes of an image file, a PIL image, or a uint8 (H, W, 3) RGB array.
            top_k: How many classes to return, at most all.

        Returns:
            The ``top_k`` best classes, best first; equal scores in the order of the output.

        Raises:
            DataError: The image is broken or of an unknown kind.
            MissingFileError: There is no such file.
            InvalidConfigError: ``top_k`` is below 1.
        """
        return self._rank(self.scores(image), _check_top_k(top_k))

    def predict_batch(self, images: Iterable[ImageSource], top_k: int = 5) -> list[Classification]:
        """Classify many images; the next ones are decoded while the model runs.

        Args:
            images: As for ``predict``; a generator is consumed as it goes.
            top_k: How many classes to return for each.

        Returns:
            One answer per image, in order. Only the answers are kept in memory.

        Raises:
            DataError: An image is broken; it is named.
            InvalidConfigError: ``top_k`` is below 1.
        """
        rank = partial(self._rank, top_k=_check_top_k(top_k))
        return [rank(scores) for scores in self.iterate_scores(images)]

    def scores(self, image: ImageSource) -> Scores:
        """Return the score of every class for one image.

        Args:
            image: As for ``predict``.

        Returns:
            (num_classes,) float32: probabilities, or what a model without softmax gives.
        """
        return self._score(self._preprocess.resize(decode_image(image)))

    def iterate_scores(
        self, images: Iterable[ImageSource], *, threads: int | None = None
    ) -> Iterator[Scores]:
        """Yield the scores of many images, decoding ahead in threads.

        Args:
            images: As for ``predict``.
            threads: Decoding threads; by default one per usable core, at most 4.
        """
        pixels = map_ahead(self._decode, images, threads=threads or min(count_cores(), 4))
        return map(self._score, pixels)

    def _decode(self, image: ImageSource) -> NDArray[np.uint8]:
        return self._preprocess.resize(decode_image(image))

    def _score(self, pixels: NDArray[np.uint8]) -> Scores:
        """Run the model on pixels of its own input size."""
        with self._lock:
            inputs = {self._input_name: self._preprocess.normalize(pixels)}
            raw = self.session.run(inputs)[self._output.name]
        scores = dequantize(raw.reshape(-1, raw.shape[-1])[0], self._output.quantization)
        if self.contract.scores is ScoreKind.LOGITS:
            return softmax(scores).astype(np.float32)
        return scores

    def _rank(self, scores: Scores, top_k: int) -> Classification:
        predictions = tuple(
            Prediction(label=self._labels[i], index=i, score=float(scores[i]))
            for i in find_best(scores, top_k).tolist()
        )
        return Classification(predictions=predictions)

    def _probe_classes(self) -> int:
        """Run once where the file does not state the length of its output."""
        size = (*self._preprocess.size, 3)
        inputs = {self._input_name: self._preprocess.normalize(np.zeros(size, np.uint8))}
        return int(self.session.run(inputs)[self._output.name].shape[-1])


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


def dequantize(values: Array, quantization: Quantization | None) -> Scores:
    """Turn stored numbers of a tensor with one scale into real ones, float32.

    >>> from edgevision.specs import Quantization
    >>> quantization = Quantization(scales=(1 / 256,), zero_points=(-128,))
    >>> dequantize(np.int8([-128, 0]), quantization).tolist()
    [0.0, 0.5]
    """
    real = values.astype(np.float32)
    if quantization is not None and values.dtype.kind in "iu":
        real -= np.float32(quantization.zero_points[0])
        real *= np.float32(quantization.scales[0])
    return real


def _take_single(specs: Iterable[TensorSpec]) -> TensorSpec:
    """Return the only spec of a side."""
    listed = list(specs)
    if len(listed) != 1:
        raise UnsupportedOpError(
            "a classifier has one input and one output",
            received=", ".join(f"{s.name} {s.shape}" for s in listed),
            remedy="if it detects or segments, load it with that task",
        )
    return listed[0]


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
        return tuple(f"class {i}" for i in range(num_classes))
    if len(labels) != num_classes:
        raise InvalidModelError(
            "a model has one label per class",
            received=f"{len(labels)} labels for {num_classes} classes",
            remedy="give the right list of labels",
        )
    return labels


def _check_top_k(top_k: int) -> int:
    if top_k < 1:
        raise InvalidConfigError("top_k must be at least 1", received=f"top_k={top_k}")
    return top_k
