"""Bias correction: the mean of every output channel becomes what it is in the float network.

Rounded weights shift the mean of a channel, the same way for every image, and shifts add up from
layer to layer. Follows Nagel et al. 2019, Data-Free Quantization Through Weight Equalization and
Bias Correction (https://arxiv.org/abs/1906.04721), section 4.2, measured on images and layer by
layer, so that each layer also takes back what the earlier ones left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.quantization.layers import Layer

Array = np.ndarray[Any, Any]

# Half of what the kernels' sums hold, 32 bits beside 8-bit activations and 48 beside 16-bit ones:
# the products come on top.
_LIMITS = {np.dtype(np.int32): 2.0**30, np.dtype(np.int64): 2.0**46}


def correct_layer(layer: Layer) -> Layer:
    """Correct a layer's bias for its weights as they are stored now."""
    moments = layer.moments
    stored = layer.integers * layer.scales[:, :, None]
    bias = correct_bias(
        layer.float_bias,
        (layer.weights, stored),
        (moments.mean_float, moments.mean_quantized),
    )
    return replace(layer, bias=bias)


def correct_bias(bias: Array, weights: tuple[Array, Array], means: tuple[Array, Array]) -> Array:
    """Return the bias that gives the quantized layer the float layer's mean outputs.

    Args:
        bias: (G, O) float bias.
        weights: (G, O, K) float weights, and what the integers stand for.
        means: (G, K) mean patch of the float and of the quantized network.

    Returns:
        (G, O) float64.

    >>> one, two = np.ones((1, 1, 1)), np.full((1, 1, 1), 2.0)
    >>> float(correct_bias(np.zeros((1, 1)), (one, two), (one[0], one[0]))[0, 0])
    -1.0
    """
    expected, actual = (
        np.einsum("gok,gk->go", w.astype(np.float64), m)
        for w, m in zip(weights, means, strict=True)
    )
    corrected: Array = bias + expected - actual
    return corrected


def store_bias(bias: Array, scales: Array, dtype: Any) -> Array:
    """Quantize a bias: scale is input scale × weight scale, zero point 0.

    A scale so small that the value does not fit (weights of a dead channel) saturates.
    """
    limit = _LIMITS[np.dtype(dtype)]
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.nan_to_num(bias / scales, nan=0.0, posinf=limit, neginf=-limit)
    return np.rint(np.clip(steps, -limit, limit)).astype(dtype)
