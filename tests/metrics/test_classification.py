from __future__ import annotations

import numpy as np
import pytest

from edgevision.errors import DataError
from edgevision.metrics.classification import (
    agreement,
    confusion_matrix,
    per_class_recall,
    softmax,
    sqnr_db,
    top_k_accuracy,
)


def test_top_k_counts_ranks() -> None:
    scores = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    targets = [2, 1, 0]
    assert top_k_accuracy(scores, targets, 1) == 1 / 3
    assert top_k_accuracy(scores, targets, 2) == 2 / 3
    assert top_k_accuracy(scores, targets, 3) == 1
    assert top_k_accuracy(scores, targets, 9) == 1


def test_top_1_is_argmax_even_with_ties() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(-3, 3, (500, 7)).astype(np.int8)
    targets = rng.integers(0, 7, 500)
    assert top_k_accuracy(scores, targets) == np.mean(scores.argmax(axis=1) == targets)


def test_collapsed_model_is_not_flattered_by_ties() -> None:
    assert top_k_accuracy(np.zeros((10, 10)), np.arange(10), 1) == 1 / 10
    assert top_k_accuracy(np.zeros((10, 10)), np.arange(10), 5) == 5 / 10


def test_nan_is_a_miss() -> None:
    nan = float("nan")
    assert top_k_accuracy([[nan, nan]], [0], 1) == 0
    assert top_k_accuracy([[nan, 1.0]], [1], 1) == 0
    assert top_k_accuracy([[nan, 1.0, 0.0]], [1], 2) == 1


@pytest.mark.parametrize(
    ("scores", "targets", "k"),
    [
        ([[0.1, 0.9]], [2], 1),
        ([[0.1, 0.9]], [-1], 1),
        ([[0.1, 0.9]], [0, 1], 1),
        ([0.1, 0.9], [0, 1], 1),
        (np.zeros((0, 2)), [], 1),
        ([[0.1, 0.9]], [0], 0),
    ],
)
def test_top_k_refuses_what_does_not_fit(scores: object, targets: list[int], k: int) -> None:
    with pytest.raises(DataError):
        top_k_accuracy(scores, targets, k)  # type: ignore[arg-type]


def test_agreement_of_scores_and_indices() -> None:
    a = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert agreement(a, a * 100) == 1
    assert agreement(a, [0, 0, 0]) == 2 / 3
    for wrong in ([0, 1], np.zeros((0, 2))):
        with pytest.raises(DataError):
            agreement(a, wrong)
    with pytest.raises(DataError):
        agreement([], [])


def test_confusion_matrix_and_recall() -> None:
    matrix = confusion_matrix([0, 1, 1, 2, 0], [0, 0, 1, 2, 2], 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    recall = per_class_recall(matrix)
    assert recall[:3].tolist() == [1 / 2, 1 / 1, 1 / 2]
    assert np.isnan(recall[3])
    assert confusion_matrix([], [], 2).sum() == 0
    for predicted, targets in (([2], [0]), ([0], [-1]), ([0, 1], [0])):
        with pytest.raises(DataError):
            confusion_matrix(predicted, targets, 2)


def test_softmax_of_large_values() -> None:
    assert np.allclose(softmax([[1000.0, 1000.0], [-1000.0, 0.0]]), [[0.5, 0.5], [0, 1]])
    logits = np.log([[0.2, 0.3, 0.5]])
    assert np.allclose(softmax(logits), [[0.2, 0.3, 0.5]])


def test_sqnr() -> None:
    reference = np.full(100, 2.0)
    assert sqnr_db(reference, reference + 0.02) == pytest.approx(10 * np.log10(2**2 / 0.02**2))
    assert sqnr_db(reference, reference) == np.inf
    assert sqnr_db(np.zeros(3), np.zeros(3)) == np.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -np.inf
    assert sqnr_db(np.ones(2), np.array([1.0, np.nan])) == -np.inf
    with pytest.raises(DataError):
        sqnr_db(np.ones(3), np.ones((3, 1)))
    with pytest.raises(DataError):
        sqnr_db([], [])


def test_sqnr_of_small_integers_does_not_overflow() -> None:
    codes = np.full(10, -128, np.int8)
    assert sqnr_db(codes, np.full(10, 127, np.int8)) == pytest.approx(
        10 * np.log10(128**2 / 255**2)
    )
