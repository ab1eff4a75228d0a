"""Ranges narrower than the extremes, where a rule finds that finer steps are worth the clipping."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.errors import InvalidConfigError
from edgevision.graph.graph import Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.logit_clipping import find_logits
from edgevision.quantization.network import Network
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
from edgevision.quantization.schemes import SchemeRow
from edgevision.specs import RangeMethod, parse_choice

Array = np.ndarray[Any, Any]
RangeRule = Callable[[Histogram, int], tuple[float, float]]
Bounds = Mapping[int, tuple[float, float]]
Trial = Callable[[Network, Array], bytes]
"""Makes an integer network from a float one and some of the images."""

STEPS = 255
"""Distances between the ends of an 8-bit range; finer integers gain nothing by clipping."""

RULES: Mapping[RangeMethod, RangeRule] = {
    RangeMethod.PERCENTILE: find_percentile_range,
    RangeMethod.ENTROPY: find_entropy_range,
    RangeMethod.MSE: find_mse_range,
}

# What ends by itself: its extremes are exact, and integer kernels have a fixed scale for most.
_SATURATING = ("relu6", "relu_n1_to_1", "relu_0_to_1", "tanh", "sigmoid")
_BOUNDED = ("LOGISTIC", "SOFTMAX", "LOG_SOFTMAX", "TANH", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
# These have the scale of what they read.
_PASSING = (
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT"),
    *("PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"),
    *("GATHER", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "UNPACK", "CONCATENATION"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeReport:
    """How the ranges of activations were chosen.

    Attributes:
        method: How.
        narrowed: Tensors whose range is narrower than the extremes for it.
        seconds: Time it took.
    """

    method: RangeMethod = RangeMethod.MINMAX
    narrowed: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "method": str(self.method),
            "narrowed": self.narrowed,
            "seconds": round(self.seconds, 3),
        }


def choose_method(row: SchemeRow, name: str) -> RangeMethod:
    """Return the method of that name, if it is for the scheme.

    Raises:
        InvalidConfigError: There is no such method, or activations do not have 8 bits.
    """
    method = parse_choice(RangeMethod, name, "ranges")
    if method is not RangeMethod.MINMAX and row.activation_bits != 8:
        raise InvalidConfigError(
            "ranges are narrowed for 8-bit activations only",
            received=f"ranges={method} scheme={row.scheme}",
            remedy="leave it out, or take --scheme int8",
        )
    return method


def narrow_ranges(
    network: Network, images: Array, method: RangeMethod, *, trial: Trial, threads: int = 1
) -> tuple[Network, RangeReport]:
    """Narrow the ranges of 8-bit activations by one method; ``minmax`` changes nothing.

    Args:
        network: With the true extremes of its activations; equalized where that is wanted.
        images: (N, *input shape) float32 inputs.
        method: How.
        trial: Makes an integer network; only ``auto`` needs it.
        threads: Interpreters that share the images.
    """
    if method is RangeMethod.MINMAX:
        return network, RangeReport()
    start = time.perf_counter()
    if method is RangeMethod.AUTO:
        found = _choose_bounds(network, images, trial, threads)
    else:
        found = find_narrower(_count(network, images, threads), method, STEPS)
    seconds = time.perf_counter() - start
    return (
        apply_bounds(network, found),
        RangeReport(method=method, narrowed=len(found), seconds=seconds),
    )


def _choose_bounds(network: Network, images: Array, trial: Trial, threads: int) -> Bounds:
    """Choose the rule of each tensor, and try the whole on images that had no part in it."""
    fitted, held = images[::2], images[1::2]
    if len(held) < MIN_IMAGES:
        return {}
    seen = _count(network, fitted, threads)
    options = {t: [rule(h, STEPS) for rule in RULES.values()] for t, h in seen.items()}
    found = choose_ends(_count(network, held, threads), options, STEPS)
    if not found:
        return {}
    expected = run_network(network.model, held, threads=threads)
    errors = []
    for candidate in (apply_bounds(network, found), network):
        answers = run_network(trial(candidate, fitted), held, threads=threads)
        errors.append(measure_image_errors(expected, answers))
    return found if is_better(*errors) else {}


def _count(network: Network, images: Array, threads: int) -> dict[int, Histogram]:
    bounds = {t: network.ranges[t].bounds() for t in list_narrowable(network)}
    return collect_histograms(network.model, network.graph, images, bounds=bounds, threads=threads)


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


def list_narrowable(network: Network) -> list[int]:
    """List the activations whose range is open to choice.

    The input's is what pixels give, saturating functions have exact ends, what a softmax reads is
    narrowed by its own criterion, and what only passes values on has the range of its source.
    """
    logits = {tensor for chain in find_logits(network.graph) for tensor in chain}
    return [
        tensor
        for op in network.graph.ops
        if not _is_fixed(op)
        for tensor in op.outputs
        if tensor in network.ranges and tensor not in logits
    ]


def apply_bounds(network: Network, bounds: Bounds) -> Network:
    """Give some activations narrower ends, and those that only pass their values on as well.

    What a concatenation joins has one scale: the widest of its parts.
    """
    ranges = {t: _clip(r, bounds[t]) if t in bounds else r for t, r in network.ranges.items()}
    for op in network.graph.ops:
        if op.name not in _PASSING or not all(_has_range(network, t) for t in op.inputs if t >= 0):
            continue
        sources = [t for t in op.inputs if t in ranges]
        if any(ranges[t] is not network.ranges[t] for t in sources):
            lows, highs = zip(*(ranges[t].bounds() for t in sources), strict=True)
            for tensor in ranges.keys() & set(op.outputs):
                ranges[tensor] = _clip(ranges[tensor], (min(*lows, 0.0), max(*highs, 0.0)))
    return network.with_ranges(ranges)


def _has_range(network: Network, tensor: int) -> bool:
    """Whether the range of an input is known; shapes and axes need none."""
    return tensor in network.ranges or network.graph.tensors[tensor].dtype != "float32"


def _clip(seen: ChannelRange, ends: tuple[float, float]) -> ChannelRange:
    low, high = (np.float32(end) for end in ends)
    return ChannelRange(low=np.clip(seen.low, low, high), high=np.clip(seen.high, low, high))


def _is_fixed(op: Op) -> bool:
    saturates = op.attributes.get("activation") in _SATURATING
    return saturates or op.name in (*_BOUNDED, *_PASSING) or op.kind is OpKind.SOFTMAX
