"""Activation ranges of a float model, measured on images: true minima and maxima.

The engine's own calibration averages the ranges of single images, which clips what is rare: on a
MobileNetV1 0.25 that costs 12 points of top-1. Ours keeps the extremes, for every channel, since
equalization needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import Any

import numpy as np

from edgevision.contract import Preprocessing
from edgevision.data.ahead import map_ahead
from edgevision.errors import CalibrationError
from edgevision.graph.graph import Graph
from edgevision.quantization.observe import (
    Observer,
    choose_count,
    list_activations,
    open_observers,
)

Array = np.ndarray[Any, Any]

# Just beyond half a step at the smallest distance from the middle: see ``find_input_range``.
_TIE_BREAK = 0.002

NARROWEST, NARROWEST_16_BIT = 1e-6, 2e-4
"""Width that a range has at the least, of 8-bit and of 16-bit activations.

TensorFlow Lite's own kernels express the 6 of a ReLU6 in steps of the range, and refuse a file
where that does not fit into 32 bits.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelRange:
    """What one float tensor held on all images.

    Attributes:
        low: (C,) float32, minimum of each channel (the last axis).
        high: (C,) float32, maximum of each channel.
    """

    low: Array
    high: Array

    def bounds(self) -> tuple[float, float]:
        """Return minimum and maximum over all channels."""
        return float(self.low.min()), float(self.high.max())


Ranges = Mapping[int, ChannelRange]
"""Range of every float activation by tensor index."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What a float network held on all images.

    Attributes:
        ranges: Range of every float activation by tensor index.
        lows: (N, T) float32, minimum of each tensor on each image, in the order of ``ranges``.
        highs: (N, T) float32, the same of the maximum.
        cached: Whether it was measured in an earlier run.
    """

    ranges: dict[int, ChannelRange]
    lows: Array
    highs: Array
    cached: bool = False


def collect_ranges(model: bytes, graph: Graph, batches: Iterable[Array]) -> dict[int, ChannelRange]:
    """Run a float model and record the range of every float activation; see ``calibrate``."""
    return calibrate(model, graph, batches).ranges


def calibrate(
    model: bytes, graph: Graph, batches: Iterable[Array], *, threads: int = 1
) -> Calibration:
    """Run a float model and record the range of every float activation, in one pass.

    Args:
        model: Bytes of the ``.tflite``.
        graph: The same model, read.
        batches: Input tensors, one image each.
        threads: Interpreters that share the images.

    Returns:
        Ranges by tensor index, and two numbers of each tensor for every image.

    Raises:
        CalibrationError: No images, or an activation is NaN or infinite; its layer is named.
    """
    copies = (batch.copy() for batch in batches)  # the next one takes its place
    first = next(copies, None)
    if first is None:
        raise CalibrationError("calibration needs at least one image")
    watched = list_activations(graph)
    parts = [ChannelExtremes() for _ in range(choose_count(graph, watched, threads))]
    observers = open_observers(
        model, graph, watched, batch=first, visits=[part.add for part in parts]
    )
    free = SimpleQueue[tuple[Observer, ChannelExtremes]]()
    for pair in zip(observers, parts, strict=True):
        free.put(pair)

    def observe(batch: Array) -> list[tuple[float, float]]:
        observer, extremes = free.get()
        try:
            observer.observe(batch)
            return extremes.take_image()
        finally:
            free.put((observer, extremes))

    history = list(map_ahead(observe, chain([first], copies), threads=len(parts)))
    ranges = _merge_ranges([found for part in parts if (found := part.find_ranges())])
    check_finite(graph, ranges)
    shown = np.array(history, np.float32)
    return Calibration(ranges=ranges, lows=shown[:, :, 0], highs=shown[:, :, 1])


def find_input_range(preprocessing: Preprocessing) -> tuple[float, float]:
    """Return the range that the 256 pixel values take after normalization, ready to quantize.

    For ``[0, 1]`` every pixel value becomes exactly one code. For ``[-1, 1]`` with the exact
    scale, every value would lie halfway between two codes, and readers round ties differently
    (to even merges half of the codes); a scale 0.2 % wider makes the rounding the same everywhere.

    >>> find_input_range(Preprocessing(mean=(0,), std=(255,)))
    (0.0, 1.0)
    """
    low = min((0 - m) / s for m, s in _pair(preprocessing))
    high = max((255 - m) / s for m, s in _pair(preprocessing))
    step = (high - low) / 255
    fraction = abs(-low / step - round(-low / step))
    if fraction < 0.25:
        return low, high
    step *= 1 + _TIE_BREAK
    zero = round(-128 - low / step)
    return (-128 - zero) * step, (127 - zero) * step


def widen_range(low: float, high: float, narrowest: float = NARROWEST) -> tuple[float, float]:
    """Make a range hold zero and have a width, as integer kernels need it.

    Args:
        low: Smallest value seen.
        high: Largest value seen.
        narrowest: Width of the result at the least; see ``NARROWEST``.

    >>> widen_range(0.0, 0.0), widen_range(2.0, 3.0)
    ((0.0, 1.0), (0.0, 3.0))
    """
    low, high = min(low, 0.0), max(high, 0.0)
    width = high - low
    if width <= np.finfo(np.float32).tiny:
        return 0.0, 1.0
    growth = max(1.0, narrowest / width)
    return low * growth, high * growth


def name_tensor(graph: Graph, index: int) -> str:
    """Name a tensor for people: converters join the names of everything they fused by ``;``."""
    return graph.tensors[index].name.partition(";")[0] or f"tensor {index}"


def _join_pixels(pixels: int, channels: int) -> int:
    """Return how many pixels are taken as one: NumPy is slow on short rows."""
    return next((n for n in (64, 49, 32, 16, 8, 7, 4) if pixels % n == 0 and channels < 512), 1)


class ChannelExtremes:
    """Minima and maxima of the channels (the last axis) of every tensor that it is shown.

    >>> extremes = ChannelExtremes()
    >>> extremes.add(7, np.array([[1.0, 5.0], [3.0, 4.0]]))
    >>> extremes.take_image(), extremes.find_ranges()[7].low.tolist()
    ([(1.0, 5.0)], [1.0, 4.0])
    """

    def __init__(self) -> None:
        self._image: list[tuple[float, float]] = []
        # By tensor: channels, columns, and the extremes of each column.
        self._seen: dict[int, tuple[int, int, Array, Array]] = {}

    def add(self, index: int, values: Array) -> None:
        """Take in one tensor of one image."""
        seen = self._seen.get(index)
        if seen is None:
            self._seen[index] = seen = self._prepare(values)
        _, columns, lows, highs = seen
        flat = values.reshape(-1, columns)
        low, high = flat.min(axis=0), flat.max(axis=0)
        self._image.append((float(low.min()), float(high.max())))
        np.minimum(lows, low, out=lows)
        np.maximum(highs, high, out=highs)

    def take_image(self) -> list[tuple[float, float]]:
        """Return the extremes of all tensors of the image that was shown last."""
        image, self._image = self._image, []
        return image

    def find_ranges(self) -> dict[int, ChannelRange]:
        """Return what was seen on all images."""
        return {
            index: ChannelRange(
                low=lows.reshape(-1, channels).min(axis=0),
                high=highs.reshape(-1, channels).max(axis=0),
            )
            for index, (channels, _, lows, highs) in self._seen.items()
        }

    def _prepare(self, values: Array) -> tuple[int, int, Array, Array]:
        channels = values.shape[-1] if values.ndim else 1
        columns = _join_pixels(values.size // channels, channels) * channels
        lows = np.full(columns, np.inf, np.float32)
        return channels, columns, lows, -lows


def _merge_ranges(parts: list[dict[int, ChannelRange]]) -> dict[int, ChannelRange]:
    merged = parts[0]
    for part in parts[1:]:
        merged = {
            index: ChannelRange(
                low=np.minimum(seen.low, part[index].low),
                high=np.maximum(seen.high, part[index].high),
            )
            for index, seen in merged.items()
        }
    return merged


def check_finite(graph: Graph, ranges: Ranges) -> None:
    """Refuse ranges that are none.

    Raises:
        CalibrationError: An activation is NaN or infinite; its layer is named.
    """
    for index, seen in ranges.items():
        if not (_is_finite(seen.low) and _is_finite(seen.high)):
            raise CalibrationError(
                "an activation is NaN or infinite, so it has no range",
                received=f"layer {name_tensor(graph, index)}",
                remedy="check the model's weights and its mean and std",
            )


def _is_finite(values: Array) -> bool:
    # Plain kernels clip what is infinite to the largest number.
    return bool((np.abs(values) < np.finfo(np.float32).max).all())


def _pair(preprocessing: Preprocessing) -> list[tuple[float, float]]:
    size = max(len(preprocessing.mean), len(preprocessing.std))
    means = preprocessing.mean * (size // len(preprocessing.mean))
    stds = preprocessing.std * (size // len(preprocessing.std))
    return list(zip(means, stds, strict=True))
