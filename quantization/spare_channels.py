"""Spare channels: the places of dead channels carry copies of channels whose rounding hurts most.

Training leaves channels behind ReLU that no image can open. From the layer that writes such a
channel, through the depthwise layers behind it, to the convolution that mixes channels, its place
is free: a copy of a live channel in it, with the weights of the reader shared out between the two,
leaves the float network as it is and costs nothing. But the two are rounded apart, and their mean
has less rounding noise than either: copies that are shifted against each other by half a step make
one channel with half the step. First layers profit: eight channels in 8 bits at full resolution are
where a MobileNetV1 0.25 loses most, and three of the eight are dead.

What is done to a channel, splitting it into parts that are summed again, is that of outlier channel
splitting (Zhao et al. 2019, https://arxiv.org/abs/1901.09504), for noise instead of range, and
without growing the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.channel_bounds import bound_channels, is_owned
from edgevision.quantization.layer_pairs import find_pairs, is_padded, push_values
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import N

Array = np.ndarray[Any, Any]

_STEPS = 255
# Of the largest value of a tensor: what varies less is one value.
_SAME = 1e-6


def use_spare_channels(network: N, _images: Array) -> tuple[N, int]:
    """Put copies of the channels that suffer most from rounding in the places of dead ones.

    Args:
        network: With its ranges.

    Returns:
        The network with its ranges, and the number of layers that changed. It computes the same,
        but for a step of an activation's scale where shifted copies meet the padding.
    """
    bounds = bound_channels(network.graph, network.ranges)
    constants, ranges = dict[int, Array](), dict(network.ranges)
    changed: set[int] = set()
    for ops in find_chains(network.graph):
        if not all(op.outputs[0] in bounds for op in ops[:-1]):
            continue
        chain = Chain(network.graph, ops, ranges, constants)
        if chain.fill(bounds[ops[-2].outputs[0]]):
            changed.update(op.index for op in ops)
    return network.with_constants(constants).with_ranges(ranges), len(changed)


def find_chains(graph: Graph) -> Iterator[tuple[Op, ...]]:
    """Yield convolutions with what reads each: depthwise layers, and the next convolution."""
    readers = {first.index: second for first, second in find_pairs(graph)}
    for op in graph.ops:
        if op.kind is not OpKind.CONV_2D or not is_owned(graph, op):
            continue
        ops = [op]
        while ops[-1].index in readers:
            ops.append(readers[ops[-1].index])
            if ops[-1].kind is OpKind.CONV_2D or not is_owned(graph, ops[-1]):
                break
        if len(ops) > 1 and ops[-1].kind is OpKind.CONV_2D and is_owned(graph, ops[-1]):
            yield tuple(ops)


def share_places(noise: Array, num_places: int) -> list[int]:
    """Choose the channels to copy, one place after the other, by what the next copy takes away.

    Args:
        noise: (C,) noise of each channel; it falls with the square of the number of its copies.
        num_places: Free places.

    Returns:
        Channels, at most as many as there are places; a channel may be copied more than once.

    >>> share_places(np.array([4.0, 1.0]), 2)
    [0, 1]
    """
    copies = np.ones(len(noise))
    chosen: list[int] = []
    for _ in range(num_places):
        gains = noise * (copies**-2 - (copies + 1) ** -2)
        best = int(gains.argmax())
        if not gains[best] > 0:
            break
        copies[best] += 1
        chosen.append(best)
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Layer:
    """One layer of a chain.

    Attributes:
        op: The operation.
        weights: Float64, as the file stores them; the last axis of a depthwise layer and the first
            of a convolution are its outputs.
        bias: (C,) float64.
    """

    op: Op
    weights: Array
    bias: Array


class Chain:
    """A convolution, the depthwise layers behind it, and the convolution that mixes them again.

    Args:
        graph: The network.
        ops: The layers.
        ranges: Of every activation; changed in place.
        constants: Values that differ from the file's, by tensor index; changed in place.
    """

    def __init__(
        self,
        graph: Graph,
        ops: tuple[Op, ...],
        ranges: dict[int, ChannelRange],
        constants: dict[int, Array],
    ) -> None:
        self._graph = graph
        self._ranges = ranges
        self._constants = constants
        self._layers = [self._read(op) for op in ops]
        self._steps = [_find_step(ranges[op.outputs[0]]) for op in ops[:-1]]

    def fill(self, bounds: ChannelRange) -> bool:
        """Fill the free places; return whether any was filled.

        Args:
            bounds: Of every channel that the last layer reads.
        """
        free = self._find_free(bounds)
        if not free:
            return False
        sources = share_places(self._measure_noise(free), len(free))
        places: dict[int, list[int]] = {}
        for place, source in zip(free, sources, strict=False):
            places.setdefault(source, [source]).append(place)
        for source, group in places.items():
            self._copy(source, group)
        self._store()
        return bool(sources)

    def _read(self, op: Op) -> _Layer:
        tensors = (get_weights(self._graph, op), get_bias(self._graph, op))
        weights, bias = (
            np.array(self._constants.get(t.index, t.data), np.float64)
            for t in tensors
            if t is not None
        )
        return _Layer(op=op, weights=weights, bias=bias)

    def _find_free(self, bounds: ChannelRange) -> list[int]:
        """List the channels that give the last layer one value, and give it through its bias."""
        taker = self._layers[-1]
        reach = float(max(np.abs(bounds.low).max(), np.abs(bounds.high).max()))
        value = (bounds.low + bounds.high) / 2
        free = bounds.high - bounds.low <= _SAME * reach
        if is_padded(taker.op, get_weights(self._graph, taker.op)):
            free &= value == 0  # at the edges there is zero instead
        taker.bias[:] += push_values(taker.op, taker.weights[..., free], value[free])
        taker.weights[..., free] = 0
        return [int(c) for c in np.flatnonzero(free)]

    def _measure_noise(self, free: list[int]) -> Array:
        """Return (C,) rounding noise of every channel in the outputs of the last layer."""
        gain = np.square(self._layers[-1].weights).sum(axis=(0, 1, 2))
        noise: Array = np.zeros_like(gain)
        for index in reversed(range(len(self._layers) - 1)):
            noise += gain * self._steps[index] ** 2
            if index:  # through the depthwise layer
                gain = gain * np.square(self._layers[index].weights).sum(axis=(0, 1, 2))
        noise[free] = 0
        return noise

    def _copy(self, source: int, places: list[int]) -> None:
        """Put copies of a channel in places, the first of which is its own."""
        count = len(places)
        # Within half a step on either side: what an activation function holds at one of its ends is
        # rounded to that end still. Their mean is zero: what the padding lacks cancels out.
        shares = (np.arange(count) - (count - 1) / 2) / count
        before = np.zeros(count)
        for layer, step in zip(self._layers[:-1], self._steps, strict=True):
            rows = layer.weights
            if layer.op.kind is OpKind.DEPTHWISE_CONV_2D:
                rows = np.moveaxis(rows, -1, 0)
                before = before * rows[source].sum()
            rows[places] = rows[source]
            shifts = step * shares
            layer.bias[places] = layer.bias[source] - before + shifts
            self._shift_range(layer.op.outputs[0], source, places=places, shifts=shifts)
            before = shifts
        taker = self._layers[-1].weights
        taker[..., places] = taker[..., [source]] / count

    def _shift_range(self, tensor: int, source: int, *, places: list[int], shifts: Array) -> None:
        seen = self._ranges[tensor]
        low, high = seen.low.copy(), seen.high.copy()
        low[places] = seen.low[source] + shifts
        high[places] = seen.high[source] + shifts
        self._ranges[tensor] = ChannelRange(low=low, high=high)

    def _store(self) -> None:
        for layer in self._layers:
            tensors = (get_weights(self._graph, layer.op), get_bias(self._graph, layer.op))
            for tensor, values in zip(tensors, (layer.weights, layer.bias), strict=True):
                if tensor is not None:
                    self._constants[tensor.index] = values.astype(np.float32)


def _find_step(seen: ChannelRange) -> float:
    """Return the step of an 8-bit activation, with 0 among its values."""
    low, high = seen.bounds()
    return (max(high, 0.0) - min(low, 0.0)) / _STEPS
