from __future__ import annotations

import numpy as np

from edgevision.quantization.descent import descend, fit_scales, measure_loss


def draw(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(3, 400, 12)) @ rng.normal(size=(3, 12, 12))
    weights = rng.normal(size=(3, 5, 12))
    scales = np.abs(weights).max(axis=2) / 20
    integers = np.rint(weights / scales[:, :, None]).astype(np.int8)
    return weights, scales, integers, rows


def test_loss_is_the_mean_squared_error_of_the_outputs() -> None:
    weights, scales, integers, rows = draw(0)
    metric = rows.transpose(0, 2, 1) @ rows / rows.shape[1]
    error = np.einsum("gok,grk->gor", weights - scales[:, :, None] * integers, rows)
    loss = measure_loss(weights, scales, integers, metric=metric)
    assert np.allclose(loss, np.square(error).mean(axis=2))


def test_every_move_lowers_the_loss_and_integers_stay_in_range() -> None:
    weights, scales, integers, rows = draw(1)
    metric = rows.transpose(0, 2, 1) @ rows / rows.shape[1]
    moved = descend(weights, scales, integers, metric=metric)
    before = measure_loss(weights, scales, integers, metric=metric)
    after = measure_loss(weights, scales, moved, metric=metric)
    assert np.all(after <= before)
    assert after.sum() < 0.8 * before.sum()
    full = np.full(weights.shape, 127, np.int8)
    assert descend(weights + 1e3, scales, full, metric=metric).max() == 127


def test_fitted_steps_lower_the_loss_and_zero_rows_keep_theirs() -> None:
    weights, scales, integers, rows = draw(2)
    metric = rows.transpose(0, 2, 1) @ rows / rows.shape[1]
    integers[0, 0] = 0
    fitted = fit_scales(weights, scales, integers, metric=metric)
    assert fitted[0, 0] == scales[0, 0]
    before = measure_loss(weights, scales, integers, metric=metric)
    assert np.all(measure_loss(weights, fitted, integers, metric=metric) <= before + 1e-12)
