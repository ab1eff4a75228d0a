"""What the rounding of each activation, alone, costs at the outputs of the network.

Told on the float network: one tensor at a time is rounded to the codes of its range, and the rest
runs in float. That names the layers which are worth more bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.quantization.calibrate import ChannelRange, name_tensor, widen_range
from edgevision.quantization.diagnose import measure_error
from edgevision.quantization.islands import find_writers
from edgevision.quantization.network import Network
from edgevision.quantization.walk import Walk
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]

_IMAGES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """One activation.

    Attributes:
        writers: Operations that write it, by index; more than one where values only pass on.
        name: Of the activation.
        error: Mean over the outputs of noise power / signal power, by this rounding alone.
    """

    writers: tuple[int, ...]
    name: str
    error: float


def measure_sensitivity(
    network: Network,
    images: Array,
    *,
    bits: int = 8,
    threads: int = 1,
    progress: Progress | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> list[Sensitivity]:
    """Round each activation alone.

    Args:
        network: Float, with its ranges.
        images: (N, *input shape) float32; some of them are used.
        bits: That activations are rounded to, 8 or 16.
        threads: Interpreters that share the images.
        progress: Called after every operation.
        is_late: Asked before every operation; what follows is left out once it says so.

    Returns:
        The activations with a range, the most expensive first; without those that share the scale
        of the input, whose pixels have 8 bits anyway.
    """
    walk = Walk(network.model, pick_images(images), threads)
    writers = find_writers(network.graph)
    expected: tuple[Array, ...] | None = None
    found = dict[tuple[int, ...], Sensitivity]()
    for op in network.graph.ops:
        if is_late():
            break
        outputs = walk.try_layer()
        expected = walk.run_rest(outputs) if expected is None else expected
        rounded = {t: round_values(outputs[t], r, bits) for t, r in _list_ranges(network, outputs)}
        if rounded and op.index in writers:
            error = measure_error(expected, walk.run_rest({**outputs, **rounded}))
            name = name_tensor(network.graph, next(iter(rounded)))
            item = Sensitivity(writers=writers[op.index], name=name, error=error)
            known = found.get(item.writers)
            if known is None or error > known.error:
                found[item.writers] = item
        walk.commit(outputs)
        if progress:
            progress("finding sensitive layers", op.index + 1, len(network.graph.ops))
    return sorted(found.values(), key=lambda item: -item.error)


def pick_images(images: Array) -> Array:
    """Pick the images on which sensitivity is told, evenly spaced."""
    return images[:: -(-len(images) // _IMAGES)]


def round_values(values: Array, seen: ChannelRange, bits: int = 8) -> Array:
    """Round to the codes of a range.

    Args:
        values: float32.
        seen: Range of the tensor.
        bits: 8, or 16 without a zero point, as integer kernels have it.

    Returns:
        What the codes stand for, float32.
    """
    low, high = widen_range(*seen.bounds())
    if bits == 16:
        high = max(-low, high)
        low = -high
    last = 2**bits - (2 if bits == 16 else 1)
    step = (high - low) / last
    zero = np.rint(-low / step)
    codes = np.clip(np.rint(values / step) + zero, 0, last)
    rounded: Array = ((codes - zero) * step).astype(np.float32)
    return rounded


def _list_ranges(network: Network, outputs: Mapping[int, Array]) -> list[tuple[int, ChannelRange]]:
    return [(t, network.ranges[t]) for t in outputs if t in network.ranges]
