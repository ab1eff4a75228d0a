"""Learned rounding: integers and steps of a layer's weights, chosen by the error of its outputs.

Three parts, each lowering the same measure, the mean squared error of the outputs on real inputs:

1. Second-order rounding after GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323): each
   weight is rounded so that later ones can make up for its error.
2. Among steps near the largest weight / 127 the one is taken that rounds best: with the nine
   weights of a depthwise channel that halves the error.
3. Single integers are moved as long as that helps (``descent.py``).

Inputs are centred first: what rounding does to the mean of the outputs is the business of bias
correction.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.quantization.descent import descend, fit_scales, measure_loss
from edgevision.quantization.layers import Layer

Array = np.ndarray[Any, Any]

MAX_SIZE = 4608
"""Largest patch that is handled (3 × 3 × 512): the cost grows with the third power."""

_DAMPING = 0.01
_DAMPING_FEW_ROWS = 0.1
_BLOCK = 64
# Steps that are tried, around what the largest weight asks for; fewer where layers are large, which
# gain little: a row of a thousand weights comes out alike with any step.
_STEPS = 16
STEP_RANGE = (0.9, 1.2)
"""Of the steps that are tried, relative to the largest weight / 127."""
_STEP_WORK = 1e8


def round_layer(layer: Layer) -> Layer:
    """Round a layer's weights against its inputs; layers with huge patches stay as they are."""
    size = layer.weights.shape[2]
    if size > MAX_SIZE:
        return layer
    metric = damp(layer.moments.covariance, num_rows=layer.moments.num_rows)
    target = layer.target.astype(np.float64)
    scales = choose_scales(target, layer.scales, metric, shared=layer.shares_scale)
    integers = round_weights(target, scales, metric)
    integers = descend(target, scales, integers, metric=metric)
    if not layer.shares_scale:
        scales = fit_scales(target, scales, integers, metric=metric)
    return replace(layer, integers=integers, scales=scales)


def choose_scales(weights: Array, scales: Array, metric: Array, *, shared: bool) -> Array:
    """Choose the step with which each row, or the layer as a whole, rounds best.

    Args:
        weights: (G, O, K) float.
        scales: (G, O) steps to start from.
        metric: (G, K, K), from ``damp``.
        shared: Whether all rows have one step.

    Returns:
        (G, O) float64.
    """
    groups, outputs, size = weights.shape
    count = int(np.clip(_STEP_WORK / (groups * outputs * size**2), 1, _STEPS))
    if count == 1:
        return scales
    tried = np.concatenate(([1.0], np.linspace(*STEP_RANGE, count)))
    # Candidates are further rows of the same problem.
    rows = np.repeat(weights, len(tried), axis=1)
    steps = (scales[:, :, None] * tried).reshape(groups, -1)
    loss = measure_loss(rows, steps, round_weights(rows, steps, metric), metric=metric)
    loss = loss.reshape(groups, outputs, len(tried))
    factors = tried[loss.sum(axis=(0, 1)).argmin()] if shared else tried[loss.argmin(axis=2)]
    return np.asarray(scales * factors)


def round_weights(
    weights: Array, scales: Array, metric: Array, *, order: Array | None = None
) -> Array:
    """Round the weights of a layer to integers.

    Args:
        weights: (G, O, K) float: G independent groups of O rows.
        scales: (G, O) step of each row.
        metric: (G, K, K), from ``damp``.
        order: (G, K) in which the weights of a row are rounded; by default what the outputs feel
            most comes first.

    Returns:
        (G, O, K) int8 within −127…127.

    >>> weights, scales = np.array([[[0.4, 0.4]]]), np.ones((1, 1))
    >>> alike = damp(np.array([[[1.0, 1.0], [1.0, 1.0]]]), num_rows=1000)
    >>> int(round_weights(weights, scales, alike).sum())
    1
    """
    size = weights.shape[2]
    if order is None:
        order = np.argsort(-np.diagonal(metric, axis1=1, axis2=2), axis=1)
    factor = _factorize(metric, order)
    left = np.take_along_axis(weights.astype(np.float64), order[:, None, :], axis=2)
    rounded = np.empty(weights.shape, np.int8)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = _round_block(left, rounded, factor, scales=scales, block=(start, stop))
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    restored: Array = np.take_along_axis(rounded, np.argsort(order, axis=1)[:, None, :], axis=2)
    return restored


def damp(covariance: Array, *, num_rows: int) -> Array:
    """Add a share of the mean variance to the diagonal of a covariance.

    Args:
        covariance: (G, K, K) of the patches that the rows are multiplied with.
        num_rows: Patches behind it; fewer of them than K leave it uncertain, and rounding then
            leans towards the nearest integer.

    Returns:
        (G, K, K) float64, invertible.
    """
    size = covariance.shape[1]
    share = _DAMPING + _DAMPING_FEW_ROWS * (size / (size + num_rows))
    mean = np.trace(covariance, axis1=1, axis2=2) / size
    # A channel that is always zero still needs an invertible matrix.
    damped: Array = covariance + (share * mean + 1e-12)[:, None, None] * np.eye(size)
    return damped


def _factorize(metric: Array, order: Array) -> Array:
    """Return the upper Cholesky factor of the inverse, rows and columns in ``order``."""
    moved = np.take_along_axis(metric, order[:, :, None], axis=1)
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
