"""Bounds of every channel on any image: interval arithmetic, and ranges seen with room to spare.

A channel is bounded twice: by what the layer can make of the bounds of its inputs, which holds for
every image, and by the range in which calibration saw it, twice as wide. The tighter of the two
counts, so that early layers, whose inputs are known to be pixels, have bounds that are proven, and
late ones, where intervals grow with every layer, still have useful ones. That calibration saw but
one value proves nothing: such a channel may answer to what no calibration image shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange, Ranges
from edgevision.quantization.layers import CONVOLUTIONS, get_bias, get_weights

Array = np.ndarray[Any, Any]

LIMITS = {
    None: (-np.inf, np.inf),
    "": (-np.inf, np.inf),
    "none": (-np.inf, np.inf),
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
}
"""Lowest and highest value that an activation function lets through."""

_WIDENED = 0.5


def bound_channels(graph: Graph, ranges: Ranges) -> dict[int, ChannelRange]:
    """Bound every channel of every measured activation.

    Args:
        graph: The float network.
        ranges: What calibration saw.
    """
    bounds = {tensor: double_range(seen) for tensor, seen in ranges.items()}
    for tensor in set(graph.inputs) & ranges.keys():
        bounds[tensor] = _join_channels(ranges[tensor])
    for op in graph.ops:
        if not is_owned(graph, op) or not bounds.keys() >= {op.inputs[0], op.outputs[0]}:
            continue
        given, size = bounds[op.inputs[0]], graph.tensors[op.inputs[0]].shape[1:3]
        low, high = bound_outputs(op, read_constants(graph, op), given=given, size=size)
        seen = bounds[op.outputs[0]]
        bounds[op.outputs[0]] = ChannelRange(
            low=np.maximum(low, seen.low), high=np.minimum(high, seen.high)
        )
    return bounds


def double_range(seen: ChannelRange) -> ChannelRange:
    """Move both ends of every channel's range outwards by half its width.

    A channel that held one value gets the range of the whole tensor.

    >>> seen = ChannelRange(low=np.array([-2.0, 3.0, 1.0]), high=np.array([4.0, 6.0, 1.0]))
    >>> wide = double_range(seen)
    >>> wide.low.tolist(), wide.high.tolist()
    ([-5.0, 1.5, -6.0], [7.0, 7.5, 10.0])
    """
    lowest, highest = seen.bounds()
    still = seen.low == seen.high
    low, high = np.where(still, lowest, seen.low), np.where(still, highest, seen.high)
    margin = (high - low) * _WIDENED
    return ChannelRange(low=low - margin, high=high + margin)


def _join_channels(seen: ChannelRange) -> ChannelRange:
    """Return the range of a whole image: photos reach what pixels can hold, in some colour."""
    low, high = (np.full(seen.low.shape, bound) for bound in seen.bounds())
    return ChannelRange(low=low, high=high)


def bound_outputs(
    op: Op, constants: tuple[Array, Array], *, given: ChannelRange, size: tuple[int, ...]
) -> tuple[Array, Array]:
    """Bound what each output channel can give, by interval arithmetic.

    Args:
        op: A convolution without groups, or a depthwise one with one filter per channel.
        constants: Weights as the file stores them, and (C,) bias.
        given: Bounds of each input channel.
        size: Height and width of the input.

    Returns:
        (C,) lowest and highest output.
    """
    weights, bias = constants
    axes = (0, 1, 2) if op.kind is OpKind.DEPTHWISE_CONV_2D else (1, 2, 3)
    ends = (weights * given.low, weights * given.high)
    least, most = np.minimum(*ends), np.maximum(*ends)
    inside = list(_list_windows(op, weights.shape[1:3], size))
    lower = np.min([least[:, y, x].sum(axis=axes) for y, x in inside], axis=0)
    upper = np.max([most[:, y, x].sum(axis=axes) for y, x in inside], axis=0)
    limits = LIMITS[op.attributes.get("activation")]
    return np.clip(bias + lower, *limits), np.clip(bias + upper, *limits)


def is_owned(graph: Graph, op: Op) -> bool:
    """Whether a convolution has float weights and a bias of its own, one filter per channel."""
    if op.kind not in CONVOLUTIONS or op.attributes.get("activation") not in LIMITS:
        return False
    weights, bias = get_weights(graph, op), get_bias(graph, op)
    owned = [t for t in (weights, bias) if t is not None and t.data is not None]
    if len(owned) < 2 or any(len(graph.consumers[t.index]) > 1 for t in owned):
        return False
    channels = graph.tensors[op.inputs[0]].shape[-1]
    return all(t.dtype == "float32" for t in owned) and bool(weights.shape[-1] == channels)


def read_constants(graph: Graph, op: Op) -> tuple[Array, Array]:
    """Return weights and (C,) bias of a layer, float64 copies."""
    tensors = (get_weights(graph, op), get_bias(graph, op))
    weights, bias = (np.array(t.data, np.float64) for t in tensors if t is not None)
    return weights, bias


def _list_windows(
    op: Op, kernel: tuple[int, ...], image: tuple[int, ...]
) -> Iterator[tuple[slice, slice]]:
    """List the parts of a kernel that can lie inside the image; the rest reads zeros."""
    rows, columns = (
        _list_spans(op, k, (k - 1) * d >= size)
        for k, d, size in zip(kernel, op.attributes["dilations"], image, strict=True)
    )
    yield from product(rows, columns)


def _list_spans(op: Op, size: int, narrow: bool) -> list[slice]:
    """List the spans of one axis of a kernel: at most half of it lies beyond an edge.

    Args:
        op: The convolution.
        size: Of the kernel along the axis.
        narrow: Whether the kernel can reach over both edges at once.
    """
    if op.attributes["padding"] == "valid":
        return [slice(0, size)]
    starts, stops = range(size // 2 + 1), range(size - size // 2, size + 1)
    return [
        slice(start, stop)
        for start in starts
        for stop in stops
        if start < stop and (start == 0 or stop == size or narrow)
    ]
