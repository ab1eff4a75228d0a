from __future__ import annotations

import numpy as np

from edgevision.quantization.compensation import compensate_weights


def measure(seed: int, num_rows: int) -> tuple[float, float]:
    """Return the output error on new rows without and with compensation."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(8) + rng.normal(0, 0.1, (8, 8))
    weights = rng.normal(size=(1, 6, 8))

    def arrive(count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = rng.normal(size=(count, 8))
        return rows, rows @ mixing + rng.normal(0, 0.05, rows.shape)

    expected, seen = arrive(num_rows)
    moments = (seen.T @ seen / num_rows, (expected - seen).T @ seen / num_rows)
    changed = compensate_weights(weights, (moments[0][None], moments[1][None]), num_rows=num_rows)
    expected, seen = arrive(5000)
    errors = (seen @ w[0].T - expected @ weights[0].T for w in (weights, changed))
    before, after = (float(np.square(error).mean()) for error in errors)
    return before, after


def test_linear_errors_of_the_inputs_are_taken_back() -> None:
    before, after = measure(0, 5000)
    assert after < 0.2 * before


def test_few_rows_do_no_harm() -> None:
    before, after = measure(1, 20)
    assert after < before


def test_equal_inputs_change_nothing() -> None:
    weights = np.random.default_rng(0).normal(size=(2, 3, 4))
    same = np.stack([np.eye(4)] * 2)
    changed = compensate_weights(weights, (same, np.zeros_like(same)), num_rows=100)
    assert np.array_equal(changed, weights)
