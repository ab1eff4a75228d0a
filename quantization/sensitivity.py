"""What the rounding of each activation, alone, costs at the outputs of the network.

Told on the float network: one tensor at a time is rounded to the codes of its range, and the rest
runs in float. That names the layers which are worth more bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.quantization.calibrate import ChannelRange, name_tensor, widen_range
from edgevision.quantization.diagnose import measure_error
from edgevision.quantization.network import Network
from edgevision.quantization.walk import Walk
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]

_IMAGES = 16
_STEPS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """One activation.

    Attributes:
        index: Of the operation that writes it.
        name: Of the activation.
        error: Mean over the outputs of noise power / signal power, by this rounding alone.
    """

    index: int
    name: str
    error: float


def measure_sensitivity(
    network: Network, images: Array, *, threads: int = 1, progress: Progress | None = None
) -> list[Sensitivity]:
    """Round each activation alone.

    Args:
        network: Float, with its ranges.
        images: (N, *input shape) float32; some of them are used.
        threads: Interpreters that share the images.
        progress: Called after every operation.

    Returns:
        The activations with a range, the most expensive first.
    """
    walk = Walk(network.model, pick_images(images), threads)
    expected: tuple[Array, ...] | None = None
    found = []
    for op in network.graph.ops:
        outputs = walk.try_layer()
        expected = walk.run_rest(outputs) if expected is None else expected
        tensor = op.outputs[0]
        if tensor in network.ranges and tensor in outputs:
            rounded = {**outputs, tensor: round_values(outputs[tensor], network.ranges[tensor])}
            error = measure_error(expected, walk.run_rest(rounded))
            name = name_tensor(network.graph, tensor)
            found.append(Sensitivity(index=op.index, name=name, error=error))
        walk.commit(outputs)
        if progress:
            progress("finding sensitive layers", op.index + 1, len(network.graph.ops))
    return sorted(found, key=lambda item: -item.error)


def pick_images(images: Array) -> Array:
    """Pick the images on which sensitivity is told, evenly spaced."""
    return images[:: -(-len(images) // _IMAGES)]


def round_values(values: Array, seen: ChannelRange) -> Array:
    """Round to the 256 codes of a range.

    Args:
        values: float32.
        seen: Range of the tensor.

    Returns:
        What the codes stand for, float32.
    """
    low, high = widen_range(*seen.bounds())
    step = (high - low) / _STEPS
    zero = np.rint(-low / step)
    codes = np.clip(np.rint(values / step) + zero, 0, _STEPS)
    rounded: Array = ((codes - zero) * step).astype(np.float32)
    return rounded
