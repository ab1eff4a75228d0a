"""Second-order rounding: each weight is rounded so that later ones can make up for its error.

Follows GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323), which minimizes the error of
a layer's outputs on real inputs instead of the error of its weights. Inputs are centred first:
what rounding does to the mean of the outputs is the business of bias correction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.quantization.layers import Layer

Array = np.ndarray[Any, Any]

MAX_SIZE = 4608
"""Largest patch that is handled (3 × 3 × 512): the cost grows with the third power."""

_DAMPING = 0.01
_DAMPING_FEW_ROWS = 0.1
_BLOCK = 64


def round_layer(layer: Layer) -> Layer:
    """Round a layer's weights against its inputs; layers with huge patches stay as they are."""
    moments = layer.moments
    if layer.weights.shape[2] > MAX_SIZE:
        return layer
    integers = round_weights(
        layer.weights, layer.scales, moments.covariance, num_rows=moments.num_rows
    )
    return replace(layer, integers=integers)


def round_weights(weights: Array, scales: Array, covariance: Array, *, num_rows: int) -> Array:
    """Round the weights of a layer to integers.

    Args:
        weights: (G, O, K) float: G independent groups of O rows.
        scales: (G, O) step of each row.
        covariance: (G, K, K) of the patches that the rows are multiplied with.
        num_rows: Patches behind the covariance; fewer of them than K leave it uncertain, and
            rounding then leans towards the nearest integer.

    Returns:
        (G, O, K) int8 within −127…127.

    >>> weights, scales = np.array([[[0.4, 0.4]]]), np.ones((1, 1))
    >>> alike = np.array([[[1.0, 1.0], [1.0, 1.0]]])
    >>> int(round_weights(weights, scales, alike, num_rows=1000).sum())
    1
    """
    size = weights.shape[2]
    damped = _damp(covariance.astype(np.float64), size, num_rows)
    order = np.argsort(-np.diagonal(damped, axis1=1, axis2=2), axis=1)
    factor = _factorize(damped, order)
    left = np.take_along_axis(weights.astype(np.float64), order[:, None, :], axis=2)
    rounded = np.empty(weights.shape, np.int8)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = _round_block(left, rounded, factor, scales=scales, block=(start, stop))
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    restored: Array = np.take_along_axis(rounded, np.argsort(order, axis=1)[:, None, :], axis=2)
    return restored


def _damp(covariance: Array, size: int, num_rows: int) -> Array:
    """Add a share of the mean variance to the diagonal."""
    share = _DAMPING + _DAMPING_FEW_ROWS * (size / (size + num_rows))
    mean = np.trace(covariance, axis1=1, axis2=2) / size
    # A channel that is always zero still needs an invertible matrix.
    damped: Array = covariance + (share * mean + 1e-12)[:, None, None] * np.eye(size)
    return damped


def _factorize(damped: Array, order: Array) -> Array:
    """Return the upper Cholesky factor of the inverse, rows and columns in ``order``."""
    moved = np.take_along_axis(damped, order[:, :, None], axis=1)
    moved = np.take_along_axis(moved, order[:, None, :], axis=2)
    lower: Array = np.linalg.cholesky(np.linalg.inv(moved))
    return lower.transpose(0, 2, 1)


def _round_block(
    left: Array, rounded: Array, factor: Array, *, scales: Array, block: tuple[int, int]
) -> Array:
    """Round one block of columns in place; return the errors that later columns make up for."""
    start, stop = block
    errors = np.empty((*left.shape[:2], stop - start))
    for k in range(start, stop):
        column = np.clip(np.rint(left[:, :, k] / scales), -127, 127)
        rounded[:, :, k] = column
        error = (left[:, :, k] - column * scales) / factor[:, k, k, None]
        errors[:, :, k - start] = error
        left[:, :, k + 1 : stop] -= error[:, :, None] * factor[:, None, k, k + 1 : stop]
    return errors
