from __future__ import annotations

import numpy as np

from edgevision.quantization.bias import correct_bias, store_bias


def test_a_known_shift_is_taken_back() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 1, (1000, 5))
    weights = rng.normal(size=(1, 3, 5))
    biased = weights + 0.25
    means = rows.mean(axis=0)[None]
    bias = correct_bias(np.zeros((1, 3)), (weights, biased), (means, means))
    shift = (rows @ biased[0].T + bias[0] - rows @ weights[0].T).mean(axis=0)
    assert np.abs(shift).max() < 1e-12
    assert np.allclose(bias, -0.25 * means.sum())


def test_shifted_inputs_are_taken_back_too() -> None:
    weights = np.full((1, 1, 2), 2.0)
    means = np.array([[1.0, 1.0]])
    bias = correct_bias(np.full((1, 1), 5.0), (weights, weights), (means, means + 0.5))
    assert float(bias[0, 0]) == 5 - 2 * 2 * 0.5


def test_stored_bias_saturates() -> None:
    stored = store_bias(np.array([1.0, 1.0, 0.0]), np.array([0.25, 0.0, 0.0]), "int32")
    assert stored.tolist() == [4, 2**30, 0]


def test_biases_beside_16_bit_activations_have_48_bits() -> None:
    steps = np.array([2.0**-35, 2.0**-60])
    assert store_bias(np.ones(2), steps, "int64").tolist() == [2**35, 2**46]
    assert store_bias(np.ones(2), steps, "int32").tolist() == [2**30, 2**30]
