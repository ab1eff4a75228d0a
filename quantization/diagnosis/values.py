"""Measuring what activations and weights lose when they become integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.quantization.answers import quantize_images
from edgevision.quantization.constants import dequantize_tensor
from edgevision.quantization.diagnosis.evidence import Values, Weights
from edgevision.quantization.diagnosis.powers import measure_powers
from edgevision.quantization.layers import get_bias

Array = np.ndarray[Any, Any]

_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int4": 4}
_SAMPLE = 1 << 18
# Far beyond what a bias needs: only an integer at the end of int32 comes near.
_FULL = 2**30


def measure_values(values: Array, tensor: Tensor, *, softmax_next: bool = False) -> Values:
    """Measure the float values of an activation against the integers that hold it.

    Args:
        values: (N, …, C) float32.
        tensor: The quantized network's; float ones have a range as wide as the values.
        softmax_next: Whether a softmax reads it: values below the range then count as its end,
            since logits far below the best add nothing to probabilities.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    range_, step, bits = _find_range(tensor, (low, high))
    if softmax_next:
        values = np.maximum(values, range_[0])
    flat = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    lows, highs = _bound_channels(values)
    stored = quantize_images(values, tensor) if bits else values
    real = dequantize_tensor(stored, tensor.quantization) if bits else values
    powers = measure_powers(values, real)
    clipped, clipping = _measure_clipping(values, real, range_) if bits else (0.0, 0.0)
    return Values(
        low=low,
        high=high,
        bound=float(np.quantile(np.abs(flat), 0.999)) if flat.size else 0.0,
        range=range_,
        step=step,
        bits=bits,
        codes=_count_codes(stored) if bits else 0,
        clipped=clipped,
        clipping=clipping,
        sqnr_db=powers.sqnr_db,
        channel_sqnr_db=powers.channel_sqnr_db,
        power=float(powers.signal.mean()),
        reaches=tuple(np.maximum(np.abs(lows), np.abs(highs)).tolist()),
        constant=tuple(np.flatnonzero(lows == highs).tolist()),
        softmax_next=softmax_next,
    )


def measure_weights(
    graph: Graph, op: Op, weights: Array, stored: Tensor, channels_last: bool
) -> Weights:
    """Measure the float weights of a layer against the integers that hold them.

    Args:
        graph: The quantized network.
        op: The layer in it.
        weights: Float weights, in the shape of the file.
        stored: The quantized network's weights.
        channels_last: Whether the last axis holds the output channels, otherwise the first.
    """
    axes = tuple(range(weights.ndim - 1)) if channels_last else tuple(range(1, weights.ndim))
    reaches = np.abs(weights).max(axis=axes)
    bits = _BITS.get(stored.dtype, 0) if stored.quantization else 0
    scales = stored.quantization.scales if stored.quantization and bits else ()
    return Weights(
        bits=bits,
        per_tensor=len(scales) == 1 and reaches.size > 1,
        step=float(np.median(scales)) if scales else 0.0,
        reaches=tuple(reaches.tolist()),
        saturated=_find_saturated(get_bias(graph, op)),
    )


def measure_ties(expected: Array, actual: Array) -> float:
    """Return the share of images whose two best scores differ before and are equal after."""
    rows = [side.reshape(-1, side.shape[-1]) for side in (expected, actual)]
    if rows[0].shape[1] < 2:
        return 0.0
    best = [np.partition(side, -2, axis=1)[:, -2:] for side in rows]
    alike = (best[1][:, 0] == best[1][:, 1]) & (best[0][:, 0] != best[0][:, 1])
    return float(alike.mean())


def find_gate(shapes: tuple[tuple[int, ...], ...], kind: OpKind) -> int:
    """Return which input of a multiplication is one value per channel, -1 where none is.

    >>> find_gate(((1, 8, 8, 16), (1, 1, 1, 16)), OpKind.MUL)
    1
    """
    if kind is not OpKind.MUL or len(shapes) != 2:
        return -1
    sizes = [int(np.prod(shape)) for shape in shapes]
    small = int(np.argmin(sizes))
    channels = shapes[small][-1] if shapes[small] else 0
    return small if sizes[small] == channels < sizes[1 - small] else -1


def _count_codes(stored: Array) -> int:
    """Count the different integers that occur."""
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    found = np.zeros(256**stored.dtype.itemsize, bool)
    found[unsigned.reshape(-1)] = True
    return int(found.sum())


def _measure_clipping(
    values: Array, real: Array, range_: tuple[float, float]
) -> tuple[float, float]:
    """Return the share of values beyond the range, and what they make of the whole error."""
    beyond = (values < range_[0]) | (values > range_[1])
    count = int(np.count_nonzero(beyond))
    if not count:
        return 0.0, 0.0
    error = real - values
    outside = float(np.square(error[beyond], dtype=np.float64).sum())
    total = sum(float(np.square(part).sum(dtype=np.float64)) for part in error)
    return count / values.size, outside / total if total else 0.0


def _find_range(
    tensor: Tensor, seen: tuple[float, float]
) -> tuple[tuple[float, float], float, int]:
    bits = _BITS.get(tensor.dtype, 0)
    if tensor.quantization is None or not bits:
        return seen, 0.0, 0
    info = np.iinfo(tensor.dtype)
    scale, zero = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
    # Half a step beyond either end still rounds to it.
    return ((info.min - 0.5 - zero) * scale, (info.max + 0.5 - zero) * scale), scale, bits


def _bound_channels(values: Array) -> tuple[Array, Array]:
    axes = tuple(range(values.ndim - 1))
    return values.min(axis=axes), values.max(axis=axes)


def _find_saturated(bias: Tensor | None) -> tuple[int, ...]:
    if bias is None or bias.data is None or bias.dtype != "int32":
        return ()
    return tuple(np.flatnonzero(np.abs(bias.data.astype(np.int64)) >= _FULL).tolist())
