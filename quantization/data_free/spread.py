"""How the values of a tensor's channels are spread, without having seen any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.errors import UnsupportedOpError
from edgevision.quantization.calibrate import ChannelRange

Array = np.ndarray[Any, Any]

# Nagel et al. 2019, section 5: beyond six deviations there is nothing to keep.
_REACH = 6.0
_POINTS = 241

REMEDY = "quantize with --calibration and typical photos"
"""What to do where something can not be told."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spread:
    """Moments and ends of every channel of a tensor.

    Attributes:
        mean: (C,) float64.
        std: (C,) float64.
        low: (C,) float64, below which hardly any value lies.
        high: (C,) float64, above which hardly any lies.
    """

    mean: Array
    std: Array
    low: Array
    high: Array

    def to_range(self) -> ChannelRange:
        """Return the ends as they are measured on images."""
        return ChannelRange(low=self.low.astype(np.float32), high=self.high.astype(np.float32))

    def within(self, other: Spread) -> Spread:
        """Return the spread with ends that do not go beyond another's."""
        low, high = np.maximum(self.low, other.low), np.minimum(self.high, other.high)
        return Spread(mean=self.mean, std=self.std, low=np.minimum(low, high), high=high)


def spread_normal(mean: Array, std: Array) -> Spread:
    """Return the spread of normal values: its ends are six deviations from the mean.

    >>> spread = spread_normal(np.ones(1), np.ones(1))
    >>> spread.low.tolist(), spread.high.tolist()
    ([-5.0], [7.0])
    """
    mean, std = np.asarray(mean, np.float64), np.abs(np.asarray(std, np.float64))
    return Spread(mean=mean, std=std, low=mean - _REACH * std, high=mean + _REACH * std)


def apply_function(spread: Spread, function: str | None) -> Spread:
    """Return the spread behind a function of single values, taking those before it as normal.

    The mean behind a clipped ReLU is that of Nagel et al. 2019, appendix C, here by a sum over 241
    points, which serves every function alike.

    Args:
        spread: Of what enters.
        function: Its name in ``Op.attributes``; nothing or ``none`` changes nothing.

    Raises:
        UnsupportedOpError: It is no function that is known here.

    >>> behind = apply_function(spread_normal(np.zeros(1), np.ones(1)), "relu")
    >>> round(float(behind.mean[0]), 3), round(float(behind.std[0]), 3)
    (0.399, 0.584)
    """
    if function in (None, "", "none"):
        return spread
    if function not in _FUNCTIONS:
        raise UnsupportedOpError(
            "what lies behind this function can not be told without images",
            received=function,
            remedy=REMEDY,
        )
    compute = _FUNCTIONS[function]
    points = np.linspace(-_REACH, _REACH, _POINTS)[:, None]
    weights = np.exp(-(points**2) / 2)
    weights /= weights.sum()
    values = compute(np.clip(spread.mean + spread.std * points, spread.low, spread.high))
    mean = (weights * values).sum(axis=0)
    # The ends may be further away than the normal distribution reaches.
    share = np.linspace(0, 1, _POINTS)[:, None]
    reached = compute(spread.low + (spread.high - spread.low) * share)
    return Spread(
        mean=mean,
        std=np.sqrt((weights * (values - mean) ** 2).sum(axis=0)),
        low=reached.min(axis=0),
        high=reached.max(axis=0),
    )


def _sigmoid(values: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-np.clip(values, -50, 50)))
    return result


_FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_n1_to_1": lambda x: np.clip(x, -1, 1),
    "relu_0_to_1": lambda x: np.clip(x, 0, 1),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "sigmoid": _sigmoid,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
