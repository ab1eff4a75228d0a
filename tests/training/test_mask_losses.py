from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from edgevision.data.mask_annotations import IGNORED
from edgevision.training.mask_losses import (
    balance_pixels,
    measure_dice_loss,
    measure_mask_loss,
)

tf = pytest.importorskip("tensorflow")


def measure(logits: np.ndarray, masks: np.ndarray, weights: tuple[float, ...]) -> dict[str, float]:
    loss, parts = measure_mask_loss(
        tf.constant(logits, tf.float32),
        tf.constant(masks),
        class_weights=np.array(weights, np.float32),
        dice_weight=0.5,
    )
    return {"loss": float(loss), **{name: float(value) for name, value in parts.items()}}


def test_cross_entropy_is_the_weighted_mean() -> None:
    masks = np.array([[[0, 1]]], np.uint8)
    logits = np.zeros((1, 1, 2, 2))
    logits[0, 0, 0] = (0, 2)
    first, second = log(1 + np.exp(2)), log(2)
    parts = measure(logits, masks, (1.0, 3.0))
    assert parts["cross_entropy"] == pytest.approx((first + 3 * second) / 4)
    assert parts["loss"] == pytest.approx(parts["cross_entropy"] + 0.5 * parts["dice_loss"])


def test_ignored_pixels_count_for_nothing() -> None:
    masks = np.array([[[0, 1, IGNORED]]], np.uint8)
    logits = np.zeros((1, 1, 3, 2))
    logits[0, 0, 2] = (50, -50)
    plain = measure(logits[:, :, :2], masks[:, :, :2], (1.0, 1.0))
    assert measure(logits, masks, (1.0, 1.0)) == pytest.approx(plain)


def test_an_image_that_is_ignored_whole_costs_nothing() -> None:
    parts = measure(np.zeros((1, 2, 2, 2)), np.full((1, 2, 2), IGNORED, np.uint8), (1.0, 1.0))
    assert parts["cross_entropy"] == 0
    assert np.isfinite(parts["loss"])


def test_dice_by_hand() -> None:
    wanted = np.zeros((1, 1, 4, 2), np.float32)
    wanted[0, 0, :, 0] = (1, 1, 1, 1)
    shares = np.full((1, 1, 4, 2), 0.5, np.float32)
    # Class 0: 2 · 4 · 0.5 = 4 over 4 · 0.25 + 4 = 5, both smoothed by 1; class 1 is absent.
    loss = measure_dice_loss(tf.constant(shares), tf.constant(wanted))
    assert float(loss) == pytest.approx(1 - (4 + 1) / (5 + 1))


def test_rare_classes_weigh_more() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask[0, :4], mask[9, 9] = 1, IGNORED
    weights = balance_pixels([mask], 3)
    median = (95 + 4) / 2
    assert weights == pytest.approx([sqrt(median / 95), sqrt(median / 4), 1.0])
