"""Figures for classifiers; plain NumPy, each with its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgevision.errors import DataError


def softmax(scores: ArrayLike) -> NDArray[np.float64]:
    """Turn logits into probabilities over the last axis: ``exp(s) / sum(exp(s))``.

    Args:
        scores: (…, C) of any size; large values do not overflow.

    Returns:
        (…, C) float64, each row adds up to 1.

    >>> softmax([0.0, 0.0]).tolist()
    [0.5, 0.5]
    """
    values = np.asarray(scores, np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def top_k_accuracy(scores: ArrayLike, targets: ArrayLike, k: int = 1) -> float:
    """Share of samples whose true class is among the ``k`` highest scores.

    Equal scores rank by class index, lower first, as ``argmax`` does: with ``k = 1`` this is the
    accuracy of the class that a program would report. NaN ranks before everything, and as the
    score of the true class it is a miss.

    Args:
        scores: (N, C), probabilities, logits or quantized scores.
        targets: (N,) class indices.
        k: At least 1; C or more gives 1.0.

    Returns:
        In [0, 1].

    Raises:
        DataError: No samples, or the shapes do not fit.

    >>> top_k_accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    >>> top_k_accuracy([[0.5, 0.5]], [1])
    0.0
    """
    values, classes = _check_scores(scores, targets)
    if k < 1:
        raise DataError("k must be 1 or more", received=f"k={k}")
    own = np.take_along_axis(values, classes[:, None], axis=1)
    earlier = np.arange(values.shape[1]) < classes[:, None]
    # Not "higher": a NaN, which compares with nothing, must count against the true class.
    ahead = ~(values <= own) | ((values == own) & earlier)
    return float(np.mean(ahead.sum(axis=1) < k))


def agreement(a: ArrayLike, b: ArrayLike) -> float:
    """Share of samples for which two models answer the same class.

    Args:
        a: (N, C) scores, or (N,) class indices.
        b: Scores or indices of the same samples.

    Returns:
        In [0, 1].

    Raises:
        DataError: No samples, or different numbers of them.

    >>> agreement([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    first, second = _pick_classes(a), _pick_classes(b)
    if first.shape != second.shape or not first.size:
        raise DataError(
            "two sets of answers to the same samples are needed",
            received=f"{len(first)} and {len(second)} samples",
        )
    return float(np.mean(first == second))


def confusion_matrix(
    predicted: ArrayLike, targets: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """Count how often each class was taken for each other.

    Args:
        predicted: (N,) class indices, or (N, C) scores.
        targets: (N,) true class indices.
        num_classes: C.

    Returns:
        (C, C) int64; row: true class, column: predicted class.

    Raises:
        DataError: An index is not in [0, C), or the numbers of samples differ.

    >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
    [[1, 1], [0, 1]]
    """
    answers, classes = _pick_classes(predicted), np.asarray(targets, np.int64)
    both = np.concatenate([answers, classes])
    if answers.shape != classes.shape or (
        both.size and not 0 <= both.min() <= both.max() < num_classes
    ):
        raise DataError(
            "predictions and targets are as many class indices",
            received=f"{len(answers)} and {len(classes)}, num_classes={num_classes}",
        )
    counts = np.bincount(classes * num_classes + answers, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def per_class_recall(matrix: ArrayLike) -> NDArray[np.float64]:
    """Share of each class's samples that were recognized: diagonal over row sum.

    Args:
        matrix: (C, C) from ``confusion_matrix``.

    Returns:
        (C,) float64; NaN for a class without samples.

    >>> per_class_recall([[1, 1], [0, 1]]).tolist()
    [0.5, 1.0]
    """
    counts = np.asarray(matrix, np.float64)
    sums = counts.sum(axis=1)
    recall = np.full(len(counts), np.nan)
    np.divide(np.diag(counts), sums, out=recall, where=sums > 0)
    return recall


def sqnr_db(reference: ArrayLike, candidate: ArrayLike) -> float:
    """Signal to quantization noise: ``10 log10(sum(r²) / sum((r − c)²))``, in decibels.

    Args:
        reference: Float values of any shape.
        candidate: Values of the same shape.

    Returns:
        Decibels: infinite for equal values; minus infinite for noise on an all-zero reference, or
        where the candidate holds a NaN or infinity.

    Raises:
        DataError: The shapes differ, or there are no values.

    >>> round(sqnr_db([3.0, 4.0], [3.0, 4.5]), 6) == 20.0
    True
    """
    signal, other = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if signal.shape != other.shape or not signal.size:
        raise DataError(
            "reference and candidate have the same shape",
            received=f"{signal.shape} and {other.shape}",
        )
    if not np.isfinite(other).all():
        return -np.inf
    power, noise = float(np.sum(signal**2)), float(np.sum((signal - other) ** 2))
    if noise == 0:
        return np.inf
    return 10 * float(np.log10(power / noise)) if power else -np.inf


def _check_scores(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[Any], NDArray[np.int64]]:
    values, classes = np.asarray(scores), np.asarray(targets, np.int64)
    if values.ndim != 2 or classes.shape != values.shape[:1] or not values.size:
        raise DataError(
            "scores are (N, C) and targets (N,)",
            received=f"scores {values.shape}, targets {classes.shape}",
        )
    if classes.min() < 0 or classes.max() >= values.shape[1]:
        raise DataError(
            "targets are indices of the model's classes",
            received=f"targets {classes.min()} to {classes.max()}, {values.shape[1]} classes",
            remedy="use a data set with the model's classes",
        )
    return values, classes


def _pick_classes(answers: ArrayLike) -> NDArray[np.int64]:
    values = np.asarray(answers)
    return values.argmax(axis=1) if values.ndim == 2 else values.astype(np.int64)
