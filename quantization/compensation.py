"""Weights that answer to the inputs as they arrive: a damped regression towards the float outputs.

What earlier layers lost reaches a layer as an error of its inputs that is partly a linear function
of them, and the weights can take that part back before they are rounded: the target of rounding
becomes the least-squares solution of ``W X`` = float outputs on the quantized inputs ``X``. The
idea is that of asymmetric calibration (GPTAQ, Li et al. 2025, https://arxiv.org/abs/2504.02692).
A calibration set is small, so the step is damped, and shrunk where patches are large for the
number of rows: undamped it fits the images it saw and loses on others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.quantization.layers import Layer

Array = np.ndarray[Any, Any]

_DAMPING = 0.1
_ROWS_PER_VALUE = 30
# Beyond this the linear system takes longer than it is worth.
_MAX_SIZE = 1536


def compensate_layer(layer: Layer) -> Layer:
    """Move the weights that will be rounded towards the float outputs."""
    moments = layer.moments
    if layer.weights.shape[2] > _MAX_SIZE:
        return layer
    target = compensate_weights(
        layer.target, (moments.covariance, moments.cross), num_rows=moments.num_rows
    )
    nearest = np.rint(target / layer.scales[:, :, None]).clip(-127, 127).astype(np.int8)
    return replace(layer, target=target, integers=nearest)


def compensate_weights(weights: Array, moments: tuple[Array, Array], *, num_rows: int) -> Array:
    """Return the weights that come closest to the float outputs on quantized inputs.

    Args:
        weights: (G, O, K) float.
        moments: (G, K, K) covariance of the quantized patches, and (G, K, K) covariance of what
            they lack with them: float patch − quantized patch.
        num_rows: Patches behind them.

    Returns:
        (G, O, K) float64.

    >>> half = np.full((1, 1, 1), 0.5)  # inputs arrive at half their size
    >>> weights = compensate_weights(np.ones((1, 1, 1)), (half, half), num_rows=10**9)
    >>> round(float(weights[0, 0, 0]), 3)
    1.909
    """
    covariance, cross = moments
    size = weights.shape[2]
    mean = np.trace(covariance, axis1=1, axis2=2) / size
    damped = covariance + (_DAMPING * mean + 1e-12)[:, None, None] * np.eye(size)
    change = np.linalg.solve(damped, (weights @ cross).transpose(0, 2, 1)).transpose(0, 2, 1)
    share = num_rows / (num_rows + _ROWS_PER_VALUE * size)
    compensated: Array = weights + share * change
    return compensated
