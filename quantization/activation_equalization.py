"""Equalization of activations: quiet channels use as many steps of the shared scale as loud ones.

Between two layers a channel may be multiplied by any positive factor when the next layer's weights
are divided by it: the float network computes the same. A channel that peaks at a third of the
tensor's range then has three times finer steps. ReLU6 stays as it is, since no channel is scaled
beyond the range in which it was seen. Weights keep their own scale per output channel, so they lose
little; the idea is that of Nagel et al. 2019 (https://arxiv.org/abs/1906.04721), section 4.1,
applied to activations.

Hard-swish does not pass factors on. Written as ``u · relu6(6 u + 3)`` it does: with ``s u`` for
``u`` and ``6 / s`` in the gate the product is ``s`` times what it was, and so are its means and its
products with the gates of squeeze-and-excitation, until convolutions take the factor back. Every
channel of such a tensor reaches down to where its gate closes, so that factors make the range
longer on that side: they are worth it where that costs the loud channels less than the quiet gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.gates import GatedProduct, find_gated_products
from edgevision.quantization.layer_pairs import (
    find_pairs,
    find_room,
    scale_inputs,
    scale_outputs,
    scale_pair,
)
from edgevision.quantization.layers import get_weights
from edgevision.quantization.network import N
from edgevision.quantization.rewrites.editing import follow_factor

Array = np.ndarray[Any, Any]

# Beyond this the weights lose more than the activations gain (measured on MobileNetV1 0.25).
_MAX_FACTOR = 3.0
_TRIED = (1.5, 2.0, 2.5, _MAX_FACTOR)


def equalize_activations(network: N, _images: Array) -> tuple[N, int]:
    """Scale channels between layers so that they share their tensor's range evenly.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network with its ranges, and the number of tensors that changed.
    """
    graph, ranges = network.graph, dict(network.ranges)
    constants: dict[int, Array] = {}
    changed = 0
    for first, second in find_pairs(graph):
        tensor = first.outputs[0]
        if tensor not in ranges:
            continue
        factors = find_factors(ranges[tensor])
        if factors.max(initial=1.0) > 1.0:
            scale_pair(graph, (first, second), factors, constants)
            _scale_ranges(ranges, (tensor,), factors)
            changed += 1
    for found in find_gated_products(graph):
        changed += _equalize_product(graph, found, ranges, constants)
    return network.with_constants(constants).with_ranges(ranges), changed


def find_factors(seen: ChannelRange) -> Array:
    """Return the factor of every channel, 1 to 3, with which it stays in its tensor's range.

    >>> low, high = np.zeros(3), np.array([6.0, 2.0, 0.0])
    >>> [round(float(f), 2) for f in find_factors(ChannelRange(low=low, high=high))]
    [1.0, 2.73, 1.0]
    """
    factors: Array = np.clip(find_room(seen), 1.0, _MAX_FACTOR).astype(np.float32)
    return factors


def weigh_factors(ranges: Sequence[ChannelRange]) -> Array | None:
    """Return the factor of every channel with which rounding makes the least noise in all tensors.

    Args:
        ranges: Of the tensors that get the factors; all have the same channels.

    Returns:
        (C,) float32, 1 to 3; ``None`` where no factors are better than none.

    >>> low, high = np.full(3, -0.4), np.array([18.0, 0.5, 0.5])
    >>> weigh_factors([ChannelRange(low=low, high=high)]).tolist()
    [1.0, 3.0, 3.0]
    """
    above = [ChannelRange(low=np.zeros_like(seen.low), high=seen.high) for seen in ranges]
    room = np.min([find_room(seen) for seen in above], axis=0)
    options = [np.clip(room, 1.0, most).astype(np.float32) for most in _TRIED]
    noise = [_measure_noise(ranges, factors) for factors in options]
    best = int(np.argmin(noise))
    return options[best] if noise[best] < 1.0 else None


def _measure_noise(ranges: Sequence[ChannelRange], factors: Array) -> float:
    """Return the mean rounding noise of all channels, as a share of that without factors."""
    shares = []
    for seen in ranges:
        low, high = seen.bounds()
        width = float((seen.high * factors).max() - (seen.low * factors).min())
        shares.append(np.square(width / max(high - low, 1e-12) / factors).mean())
    return float(np.mean(shares))


def _equalize_product(
    graph: Graph,
    found: GatedProduct,
    ranges: dict[int, ChannelRange],
    constants: dict[int, Array],
) -> int:
    """Equalize a gated product and what it passes factors on to; return how many tensors that is.

    Constants and ranges are changed in place.
    """
    followed = follow_factor(graph, found.product.outputs[0])
    if followed is None:
        return 0
    takers, lacking = followed
    tensors = (found.layer.outputs[0], *lacking)
    channels = graph.tensors[tensors[0]].shape[-1]
    if any(graph.tensors[tensor].shape[-1] != channels for tensor in tensors):
        return 0
    if not all(_takes_channels(graph, op, channels) for op in takers):
        return 0
    if not ranges.keys() >= set(tensors):
        return 0
    factors = weigh_factors([ranges[tensor] for tensor in tensors])
    if factors is None:
        return 0
    scale_outputs(graph, found.layer, factors, constants)
    for op in (found.gate, *takers):
        scale_inputs(graph, op, factors, constants)
    _scale_ranges(ranges, tensors, factors)
    return len(tensors)


def _takes_channels(graph: Graph, op: Op, channels: int) -> bool:
    """Whether a convolution has weights of its own for every channel that it reads."""
    weights = get_weights(graph, op)
    return weights.shape[-1] == channels and len(graph.consumers[weights.index]) == 1


def _scale_ranges(ranges: dict[int, ChannelRange], tensors: Sequence[int], factors: Array) -> None:
    for tensor in tensors:
        seen = ranges[tensor]
        ranges[tensor] = ChannelRange(low=seen.low * factors, high=seen.high * factors)
