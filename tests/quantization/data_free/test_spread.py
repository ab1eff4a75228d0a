from __future__ import annotations

import numpy as np
import pytest

from edgevision.errors import UnsupportedOpError
from edgevision.quantization.data_free.spread import apply_function, spread_normal

MEAN, STD = np.array([-1.0, 0.0, 2.0, 5.0]), np.array([0.5, 1.0, 2.0, 4.0])
VALUES = MEAN + STD * np.random.default_rng(0).normal(size=(200_000, 4))


@pytest.mark.parametrize(
    ("function", "compute"),
    [
        ("relu", lambda x: np.maximum(x, 0)),
        ("relu6", lambda x: np.clip(x, 0, 6)),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("tanh", np.tanh),
        ("hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6),
    ],
)
def test_moments_are_those_of_samples(function: str, compute: np.ufunc) -> None:
    expected = compute(VALUES)
    spread = apply_function(spread_normal(MEAN, STD), function)
    assert np.allclose(spread.mean, expected.mean(axis=0), atol=0.02)
    assert np.allclose(spread.std, expected.std(axis=0), atol=0.02)
    assert np.all(spread.low <= expected.min(axis=0) + 1e-2)
    assert np.all(spread.high >= expected.max(axis=0) - 1e-2)


def test_no_function_changes_nothing() -> None:
    spread = spread_normal(MEAN, STD)
    assert apply_function(spread, None) is spread


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="prelu"):
        apply_function(spread_normal(MEAN, STD), "prelu")
