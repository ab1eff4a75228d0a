"""Equalization of activations: quiet channels use as many steps of the shared scale as loud ones.

Between two layers a channel may be multiplied by any positive factor when the next layer's weights
are divided by it: the float network computes the same. A channel that peaks at a third of the
tensor's range then has three times finer steps. ReLU6 stays as it is, since no channel is scaled
beyond the range in which it was seen. Weights keep their own scale per output channel, so they lose
little; the idea is that of Nagel et al. 2019 (https://arxiv.org/abs/1906.04721), section 4.1,
applied to activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layer_pairs import find_pairs, find_room, scale_pair
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

# Beyond this the weights lose more than the activations gain (measured on MobileNetV1 0.25).
_MAX_FACTOR = 3.0


def equalize_activations(network: N, _images: Array) -> tuple[N, int]:
    """Scale channels between layers so that they share their tensor's range evenly.

    Args:
        network: With its ranges.

    Returns:
        The equivalent network with its ranges, and the number of tensors that changed.
    """
    graph, ranges = network.graph, network.ranges
    constants: dict[int, Array] = {}
    scaled = dict(ranges)
    changed = 0
    for first, second in find_pairs(graph):
        tensor = first.outputs[0]
        if tensor not in ranges:
            continue
        factors = find_factors(ranges[tensor])
        if factors.max(initial=1.0) <= 1.0:
            continue
        scale_pair(graph, (first, second), factors, constants)
        seen = ranges[tensor]
        scaled[tensor] = ChannelRange(low=seen.low * factors, high=seen.high * factors)
        changed += 1
    return network.with_constants(constants).with_ranges(scaled), changed


def find_factors(seen: ChannelRange) -> Array:
    """Return the factor of every channel, 1 to 3, with which it stays in its tensor's range.

    >>> low, high = np.zeros(3), np.array([6.0, 2.0, 0.0])
    >>> [round(float(f), 2) for f in find_factors(ChannelRange(low=low, high=high))]
    [1.0, 2.73, 1.0]
    """
    factors: Array = np.clip(find_room(seen), 1.0, _MAX_FACTOR).astype(np.float32)
    return factors
