from __future__ import annotations

import numpy as np

from edgevision.quantization.descent import measure_loss
from edgevision.quantization.rounding import choose_scales, damp, round_weights


def measure(weights: np.ndarray, stored: np.ndarray, rows: np.ndarray) -> float:
    error = np.einsum("gok,grk->gro", weights - stored, rows)
    return float(np.square(error).mean())


def draw(groups: int, outputs: int, size: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, size, size))
    rows = rng.normal(size=(groups, 500, size)) @ mixing
    rows -= rows.mean(axis=1, keepdims=True)
    weights = rng.normal(size=(groups, outputs, size))
    scales = np.abs(weights).max(axis=2) / 15
    return rows, weights, scales


def test_outputs_come_closer_than_by_rounding_to_nearest() -> None:
    for groups, outputs, size in ((1, 8, 40), (6, 1, 9), (1, 4, 150)):
        rows, weights, scales = draw(groups, outputs, size, seed=size)
        covariance = rows.transpose(0, 2, 1) @ rows / rows.shape[1]
        rounded = round_weights(weights, scales, damp(covariance, num_rows=rows.shape[1]))
        nearest = np.rint(weights / scales[:, :, None])
        ours = measure(weights, rounded * scales[:, :, None], rows)
        assert ours < 0.6 * measure(weights, nearest * scales[:, :, None], rows)


def test_without_correlation_it_rounds_to_nearest() -> None:
    _, weights, scales = draw(2, 3, 9, seed=1)
    metric = damp(np.stack([np.eye(9)] * 2), num_rows=10_000)
    rounded = round_weights(weights, scales, metric)
    assert np.array_equal(rounded, np.rint(weights / scales[:, :, None]))


def test_dead_inputs_and_range() -> None:
    weights = np.full((1, 2, 4), 500.0)
    rounded = round_weights(weights, np.ones((1, 2)), damp(np.zeros((1, 4, 4)), num_rows=0))
    assert np.all(rounded == 127)


def test_the_chosen_step_rounds_better() -> None:
    rows, weights, scales = draw(6, 1, 9, seed=2)
    metric = damp(rows.transpose(0, 2, 1) @ rows / rows.shape[1], num_rows=rows.shape[1])
    losses = []
    for steps in (scales, choose_scales(weights, scales, metric, shared=False)):
        rounded = round_weights(weights, steps, metric)
        losses.append(measure_loss(weights, steps, rounded, metric=metric))
    assert np.all(losses[1] <= losses[0])
    assert losses[1].sum() < 0.7 * losses[0].sum()


def test_a_shared_step_stays_shared() -> None:
    rows, weights, _ = draw(1, 4, 12, seed=3)
    metric = damp(rows.transpose(0, 2, 1) @ rows / rows.shape[1], num_rows=rows.shape[1])
    steps = choose_scales(weights, np.full((1, 4), 0.1), metric, shared=True)
    assert len(set(steps.ravel().tolist())) == 1
