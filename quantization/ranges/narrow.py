"""Ranges narrower than the extremes, where a rule finds that finer steps are worth the clipping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange, Ranges
from edgevision.quantization.ranges.auto import (
    MIN_IMAGES,
    choose_ends,
    is_better,
    measure_image_errors,
)
from edgevision.quantization.ranges.entropy import find_entropy_range
from edgevision.quantization.ranges.histogram import Histogram, collect_histograms
from edgevision.quantization.ranges.mse import find_mse_range
from edgevision.quantization.ranges.percentile import find_percentile_range
from edgevision.quantization.repair import run_network
from edgevision.quantization.softmax import find_logits
from edgevision.specs import RangeMethod

Array = np.ndarray[Any, Any]
RangeRule = Callable[[Histogram, int], tuple[float, float]]
Bounds = Mapping[int, tuple[float, float]]

RULES: Mapping[RangeMethod, RangeRule] = {
    RangeMethod.PERCENTILE: find_percentile_range,
    RangeMethod.ENTROPY: find_entropy_range,
    RangeMethod.MSE: find_mse_range,
}

# What ends by itself: its extremes are exact, and integer kernels have a fixed scale for most.
_SATURATING = ("relu6", "relu_n1_to_1", "relu_0_to_1", "tanh", "sigmoid")
_BOUNDED = ("LOGISTIC", "SOFTMAX", "LOG_SOFTMAX", "TANH", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
# These keep the scale of what they read.
_PASSING = (
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT"),
    *("PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"),
    *("GATHER", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "UNPACK", "DEQUANTIZE"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """A float network, what was seen of it, and how its integer form is made.

    Attributes:
        model: Bytes of the float ``.tflite``, equalized where that is wanted.
        graph: The same model, read.
        images: (N, *input shape) float32 inputs.
        ranges: True extremes of every float activation of this model.
        steps: Distances between the integers' ends: 255 for 8 bits.
        trial: Makes the quantized model from ranges and images; only ``auto`` needs it.
        threads: Interpreters that share the images.
    """

    model: bytes
    graph: Graph
    images: Array
    ranges: Ranges
    steps: int
    trial: Callable[[Ranges, Array], bytes]
    threads: int = 1


def narrow_ranges(measured: Measured, method: RangeMethod) -> tuple[Ranges, int]:
    """Narrow the ranges of activations by one method; ``minmax`` changes nothing.

    Returns:
        The ranges, and how many tensors were narrowed.
    """
    if method is RangeMethod.MINMAX:
        return measured.ranges, 0
    if method is RangeMethod.AUTO:
        return _choose_ranges(measured)
    found = find_narrower(_count(measured, measured.images), method, measured.steps)
    return apply_bounds(measured.ranges, found), len(found)


def _choose_ranges(measured: Measured) -> tuple[Ranges, int]:
    """Choose the rule of each tensor, and try the whole on images that had no part in it."""
    ranges, fitted, held = measured.ranges, measured.images[::2], measured.images[1::2]
    if len(held) < MIN_IMAGES:
        return ranges, 0
    seen = _count(measured, fitted)
    options = {t: [RULES[m](h, measured.steps) for m in RULES] for t, h in seen.items()}
    found = choose_ends(_count(measured, held), options, measured.steps)
    if not found:
        return ranges, 0
    narrowed = apply_bounds(ranges, found)
    expected = run_network(measured.model, held, threads=measured.threads)
    errors = []
    for candidate in (narrowed, ranges):
        quantized = measured.trial(candidate, fitted)
        answers = run_network(quantized, held, threads=measured.threads)
        errors.append(measure_image_errors(expected, answers))
    return (narrowed, len(found)) if is_better(*errors) else (ranges, 0)


def _count(measured: Measured, images: Array) -> dict[int, Histogram]:
    tensors = list_narrowable(measured.graph, measured.ranges)
    return collect_histograms(
        measured.model,
        measured.graph,
        images,
        bounds={t: measured.ranges[t].bounds() for t in tensors},
        threads=measured.threads,
    )


def find_narrower(seen: Mapping[int, Histogram], method: RangeMethod, steps: int) -> Bounds:
    """Apply one rule to every tensor.

    Args:
        seen: Distribution of each tensor.
        method: One of ``RULES``.
        steps: Distances between the integers' ends: 255 for 8 bits.

    Returns:
        Ends of those tensors for which the rule wants others than the extremes.
    """
    chosen = {tensor: RULES[method](histogram, steps) for tensor, histogram in seen.items()}
    return {t: ends for t, ends in chosen.items() if ends != (seen[t].low, seen[t].high)}


def list_narrowable(graph: Graph, ranges: Ranges) -> list[int]:
    """List the activations whose range is open to choice.

    The input's is what pixels give, saturating functions have exact ends, what a softmax reads is
    narrowed by its own criterion, and what only passes values on has the range of its source.
    """
    logits = {tensor for chain in find_logits(graph) for tensor in chain}
    return [
        tensor
        for op in graph.ops
        if not _is_fixed(op)
        for tensor in op.outputs
        if tensor in ranges and tensor not in logits
    ]


def apply_bounds(ranges: Ranges, bounds: Bounds) -> dict[int, ChannelRange]:
    """Clip the channels of some tensors to narrower ends."""
    return {
        tensor: _clip(seen, bounds[tensor]) if tensor in bounds else seen
        for tensor, seen in ranges.items()
    }


def _clip(seen: ChannelRange, ends: tuple[float, float]) -> ChannelRange:
    low, high = (np.float32(end) for end in ends)
    return ChannelRange(low=np.clip(seen.low, low, high), high=np.clip(seen.high, low, high))


def _is_fixed(op: Op) -> bool:
    saturates = op.attributes.get("activation") in _SATURATING
    return saturates or op.name in (*_BOUNDED, *_PASSING) or op.kind is OpKind.SOFTMAX
