from __future__ import annotations

import numpy as np
import pytest

from edgevision.training.losses import balance_classes, cross_entropy, mix_images, smooth_targets

pytest.importorskip("tensorflow")


def test_smoothing_spreads_a_share_evenly() -> None:
    rows = smooth_targets(np.array([1]), 4, 0.2).numpy()
    assert rows == pytest.approx(np.array([[0.05, 1 - 0.2 + 0.05, 0.05, 0.05]]))


def test_rare_classes_weigh_more_and_the_mean_stays() -> None:
    targets = [0] * 6 + [1] * 2
    weights = balance_classes(targets, 2)
    assert weights == pytest.approx(np.array([8 / (2 * 6), 8 / (2 * 2)]))
    assert weights[targets].mean() == pytest.approx(1.0)


def test_the_loss_is_the_weighted_mean() -> None:
    logits = np.zeros((2, 2), np.float32)
    wanted = np.eye(2, dtype=np.float32)
    loss = cross_entropy(wanted, logits, np.array([1.0, 3.0], np.float32))
    assert float(loss) == pytest.approx(np.log(2) * (1 + 3) / 2)


def test_mixup_blends_images_and_targets_alike() -> None:
    images = np.arange(4, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2, 3), np.float32)
    wanted = np.eye(4, dtype=np.float32)
    seed = np.array([1, 2], np.int32)
    mixed, targets = mix_images(images, wanted, mixup=0.4, seed=seed)
    assert targets.numpy().sum(1) == pytest.approx(np.ones(4))
    assert mixed.numpy()[:, 0, 0, 0] == pytest.approx(targets.numpy() @ np.arange(4), abs=1e-5)
    again, _ = mix_images(images, wanted, mixup=0.4, seed=seed)
    assert np.array_equal(mixed, again)
