"""Coordinate descent on the integers of a layer, and the step that fits them best."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# A row of 9 weights is done after a few moves; in long rows later moves gain next to nothing.
_MIN_MOVES, _MAX_MOVES = 8, 96
_MOVES_PER_WEIGHT = 0.5


def measure_loss(weights: Array, scales: Array, integers: Array, *, metric: Array) -> Array:
    """Return the mean squared error of each row's outputs.

    Args:
        weights: (G, O, K) float.
        scales: (G, O) step of each row.
        integers: (G, O, K).
        metric: (G, K, K) second moments of the patches.

    Returns:
        (G, O) float64.

    >>> one = np.ones((1, 1, 1))
    >>> float(measure_loss(one * 0.75, one[0], one, metric=one * 2)[0, 0])
    0.125
    """
    error = weights - scales[:, :, None] * integers
    loss: Array = ((error @ metric) * error).sum(axis=2)
    return loss


def descend(weights: Array, scales: Array, integers: Array, *, metric: Array) -> Array:
    """Move single integers by one as long as that lowers the loss of their row.

    Args:
        weights: (G, O, K) float.
        scales: (G, O) step of each row.
        integers: (G, O, K) int8, where to start.
        metric: (G, K, K) second moments of the patches.

    Returns:
        (G, O, K) int8 within −127…127; no row has a higher loss than before.
    """
    current = integers.astype(np.float64)
    slope = (weights - scales[:, :, None] * current) @ metric
    curvature = scales[:, :, None] ** 2 * np.diagonal(metric, axis1=1, axis2=2)[:, None]
    group = np.arange(len(weights))[:, None]
    moves = int(np.clip(_MOVES_PER_WEIGHT * weights.shape[2], _MIN_MOVES, _MAX_MOVES))
    for _ in range(moves):
        direction = np.sign(slope)
        gain = 2 * scales[:, :, None] * np.abs(slope) - curvature
        gain[np.abs(current + direction) > 127] = 0
        place = gain.argmax(axis=2)[:, :, None]
        step = np.take_along_axis(direction, place, 2) * (np.take_along_axis(gain, place, 2) > 0)
        if not step.any():
            break
        np.put_along_axis(current, place, np.take_along_axis(current, place, 2) + step, 2)
        slope -= scales[:, :, None] * step * metric[group, place[:, :, 0]]
    return current.astype(np.int8)


def fit_scales(weights: Array, scales: Array, integers: Array, *, metric: Array) -> Array:
    """Return the steps with the lowest loss for integers that are decided.

    Args:
        weights: (G, O, K) float.
        scales: (G, O), kept where the integers are all zero or turned against the weights.
        integers: (G, O, K).
        metric: (G, K, K) second moments of the patches.

    >>> float(fit_scales(np.full((1, 1, 1), 6.0), np.ones((1, 1)), np.full((1, 1, 1), 5),
    ...                  metric=np.ones((1, 1, 1)))[0, 0])
    1.2
    """
    projected = integers.astype(np.float64) @ metric
    fit = (weights * projected).sum(axis=2)
    power = (integers * projected).sum(axis=2)
    usable = (fit > 0) & (power > 0)
    fitted: Array = np.where(usable, fit / np.where(usable, power, 1.0), scales)
    return fitted
