from __future__ import annotations

from math import log

import numpy as np
import pytest

from edgevision.training.box_losses import (
    find_hard_negatives,
    measure_box_loss,
    measure_focal_loss,
    measure_mined_loss,
    smooth_l1,
)
from edgevision.training.config import BoxLoss
from edgevision.training.matching import BACKGROUND, IGNORED

tf = pytest.importorskip("tensorflow")


def test_smooth_l1_by_hand() -> None:
    values = smooth_l1(tf.constant([0.0, 0.5, -1.0, 3.0])).numpy()
    assert values == pytest.approx([0, 0.5 * 0.25, 0.5, 3 - 0.5])


def test_three_negatives_for_a_positive_and_the_worst_first() -> None:
    losses = np.zeros((1, 30), np.float32)
    losses[0, 1:] = np.arange(1, 30)
    positive = np.zeros((1, 30), bool)
    positive[0, 0] = True
    # 3 × 1 is less than the smallest number, 8.
    chosen = find_hard_negatives(tf.constant(losses), tf.constant(positive)).numpy()[0]
    assert np.flatnonzero(chosen).tolist() == list(range(22, 30))
    positive[0, :4], losses[0, :4] = True, 0
    chosen = find_hard_negatives(tf.constant(losses), tf.constant(positive)).numpy()[0]
    assert np.flatnonzero(chosen).tolist() == list(range(30 - 3 * 4, 30))


def test_ignored_anchors_count_for_nothing() -> None:
    labels = tf.constant([[IGNORED, IGNORED]])
    logits = tf.constant(np.full((1, 2, 3), 5.0, np.float32))
    assert float(measure_mined_loss(logits, labels)) == 0
    assert float(measure_focal_loss(logits, labels)) == 0


def test_the_mined_loss_by_hand() -> None:
    # Logits of 0: every sigmoid costs log 2, in each of the three columns.
    labels = tf.constant([[1, BACKGROUND]])
    loss = measure_mined_loss(tf.zeros((1, 2, 3)), labels)
    assert float(loss) == pytest.approx(2 * 3 * log(2))


def test_the_focal_loss_by_hand() -> None:
    # One object of the first of two classes, one background; the background column is left out.
    labels = tf.constant([[1, BACKGROUND]])
    loss = measure_focal_loss(tf.zeros((1, 2, 3)), labels)
    each = 0.5**2 * log(2)
    assert float(loss) == pytest.approx(each * (0.25 + 0.75 * 3))


@pytest.mark.parametrize("kind", list(BoxLoss))
def test_a_perfect_answer_costs_nothing(kind: BoxLoss) -> None:
    labels = np.array([[2, BACKGROUND, BACKGROUND]], np.int32)
    logits = np.full((1, 3, 3), -30.0, np.float32)
    logits[0, 0, 2] = logits[0, 1, 0] = logits[0, 2, 0] = 30.0
    encodings = np.ones((1, 3, 4), np.float32)
    outputs = tf.constant(encodings), tf.constant(logits)
    loss, parts = measure_box_loss(outputs, (labels, encodings), kind=kind)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert set(parts) == {"box_loss", "class_loss"}


def test_boxes_count_for_matched_anchors_only() -> None:
    labels = np.array([[1, BACKGROUND]], np.int32)
    encodings = np.zeros((1, 2, 4), np.float32)
    outputs = tf.constant(encodings + 2.0), tf.zeros((1, 2, 2))
    _, parts = measure_box_loss(outputs, (labels, encodings), kind=BoxLoss.HARD_NEGATIVES)
    assert float(parts["box_loss"]) == pytest.approx(4 * (2 - 0.5))
