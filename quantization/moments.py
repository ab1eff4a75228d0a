"""What a layer's repair needs to know of its inputs: first and second moments of its patches.

Every layer with weights is a set of small linear problems: ``groups`` independent products of
``outputs`` rows of weights with patches of ``size`` values. A dense convolution is one group with
all channels; a depthwise one has a group per input channel (3×3: problems of size 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Op
from edgevision.graph.ops import OpKind
from edgevision.runtime.classify import dequantize
from edgevision.specs import Quantization

Array = np.ndarray[Any, Any]

# Patches that are sampled from all images together, for each value of a patch and at least.
_ROWS_PER_VALUE, _MIN_ROWS, _MAX_ROWS = 24, 2048, 8192


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Moments of the patches that enter a layer; G groups of size K.

    Attributes:
        mean_float: (G, K) float64, mean patch in the float network.
        mean_quantized: (G, K) float64, mean patch in the quantized one, dequantized.
        covariance: (G, K, K) float64 of the quantized patches.
        cross: (G, K, K) float64, covariance of float − quantized patch with the quantized one.
        num_rows: Patches they were computed from.
    """

    mean_float: Array
    mean_quantized: Array
    covariance: Array
    cross: Array
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Activation:
    """One tensor for a set of images.

    Attributes:
        values: (N, …) as the network stores them.
        quantization: Of the stored values; ``None`` for float.
    """

    values: Array
    quantization: Quantization | None = None

    @property
    def zero(self) -> int:
        """What the network stores for 0."""
        return self.quantization.zero_points[0] if self.quantization else 0

    def to_real(self) -> Array:
        """Return the real values, float32."""
        return dequantize(self.values, self.quantization)


def measure_moments(
    op: Op,
    shape: tuple[int, ...],
    inputs: tuple[Activation, Activation],
    *,
    output: Array,
    seed: int,
) -> Moments:
    """Sample patches at random places and measure their moments.

    Args:
        op: The layer: convolution, depthwise convolution or fully connected.
        shape: Of its weights.
        inputs: Its input in the float and in the quantized network.
        output: (N, …) Its output in either network; only the shape counts.
        seed: Of the sampled places.
    """
    rows = [
        gather_patches(op, shape, side, output_shape=output.shape, seed=seed) for side in inputs
    ]
    lacking, mean_float = _centre(rows[0])
    centred, mean_quantized = _centre(rows[1])
    lacking -= centred
    count = centred.shape[1]
    covariance, cross = (
        np.matmul(side.transpose(0, 2, 1), centred).astype(np.float64) / max(count, 1)
        for side in (centred, lacking)
    )
    return Moments(
        mean_float=mean_float,
        mean_quantized=mean_quantized,
        covariance=covariance,
        cross=cross,
        num_rows=count,
    )


def group_weights(op: Op, weights: Array) -> Array:
    """Bring weights into the form (groups, outputs, size)."""
    if op.kind is OpKind.DEPTHWISE_CONV_2D:
        channels = weights.shape[-1]
        multiplier = int(op.attributes.get("depth_multiplier") or 1)
        flat = weights.reshape(-1, channels // multiplier, multiplier)
        return np.ascontiguousarray(flat.transpose(1, 2, 0))
    groups = int(op.attributes.get("groups") or 1) if op.kind is OpKind.CONV_2D else 1
    return weights.reshape(groups, weights.shape[0] // groups, -1)


def ungroup_weights(op: Op, grouped: Array, shape: tuple[int, ...]) -> Array:
    """Undo ``group_weights``."""
    if op.kind is OpKind.DEPTHWISE_CONV_2D:
        return np.ascontiguousarray(grouped.transpose(2, 0, 1)).reshape(shape)
    return grouped.reshape(shape)


def gather_patches(
    op: Op,
    shape: tuple[int, ...],
    inputs: Activation,
    *,
    output_shape: tuple[int, ...],
    seed: int,
) -> Array:
    """Take patches at random output places, the same for the same seed.

    Returns:
        (G, rows, K) float32, in the order of ``group_weights``.
    """
    if op.kind is OpKind.FULLY_CONNECTED:
        return inputs.to_real().reshape(1, -1, shape[1])
    depthwise = op.kind is OpKind.DEPTHWISE_CONV_2D
    size = shape[1] * shape[2] * (1 if depthwise else shape[3])
    places = _draw_places(output_shape, size, seed)
    patches = _take(op, shape[1:3], inputs, output_size=output_shape[1:3], places=places)
    channels = patches.shape[-1]
    if depthwise:
        return np.ascontiguousarray(patches.transpose(2, 0, 1))
    groups = channels // shape[3]
    split = patches.reshape(len(places), -1, groups, shape[3])
    return np.ascontiguousarray(split.transpose(2, 0, 1, 3)).reshape(groups, len(places), size)


def _draw_places(output_shape: tuple[int, ...], size: int, seed: int) -> Array:
    """Draw (rows, 3) places: image, y, x; every image gives equally many."""
    num_images, height, width = output_shape[:3]
    wanted = min(max(_ROWS_PER_VALUE * size, _MIN_ROWS), _MAX_ROWS)
    per_image = min(-(-wanted // num_images), height * width)
    rng = np.random.default_rng(seed)
    order = rng.random((num_images, height * width)).argpartition(per_image - 1, axis=1)
    flat = np.sort(order[:, :per_image], axis=1)
    image = np.repeat(np.arange(num_images), per_image)
    return np.stack([image, flat.ravel() // width, flat.ravel() % width], axis=1)


def _take(
    op: Op,
    kernel: tuple[int, ...],
    inputs: Activation,
    *,
    output_size: tuple[int, ...],
    places: Array,
) -> Array:
    """Gather (rows, kernel height × width, C) float32; outside the image there is zero."""
    values = inputs.values
    size = values.shape[1:3]
    axes = []
    for axis in (0, 1):
        start = _find_padding(op, axis, kernel[axis], sizes=(size[axis], output_size[axis]))
        steps = np.arange(kernel[axis]) * op.attributes["dilations"][axis]
        axes.append(places[:, 1 + axis, None] * op.attributes["strides"][axis] - start + steps)
    y, x = axes
    inside = ((y >= 0) & (y < size[0]))[:, :, None] & ((x >= 0) & (x < size[1]))[:, None, :]
    rows = places[:, 0, None, None] * size[0] + np.clip(y, 0, size[0] - 1)[:, :, None]
    flat = rows * size[1] + np.clip(x, 0, size[1] - 1)[:, None, :]
    taken = values.reshape(-1, values.shape[-1])[flat]
    if not inside.all():
        taken[~inside] = inputs.zero
    real = dequantize(taken, inputs.quantization)
    return real.reshape(len(places), -1, values.shape[-1])


def _find_padding(op: Op, axis: int, kernel: int, *, sizes: tuple[int, int]) -> int:
    """Return the padding before the image along one axis: stated, or as TFLite computes it.

    Args:
        op: The layer.
        axis: 0 for rows, 1 for columns.
        kernel: Of the weights along it.
        sizes: Of the input and of the output along it.
    """
    size, output_size = sizes
    padding = op.attributes["padding"]
    if padding != "same":
        return 0 if padding == "valid" else int(padding[2 * axis])
    reach = (kernel - 1) * op.attributes["dilations"][axis] + 1
    covered: int = (output_size - 1) * op.attributes["strides"][axis] + reach
    return max(covered - size, 0) // 2


def _centre(rows: Array) -> tuple[Array, Array]:
    mean = rows.mean(axis=1, dtype=np.float64)
    rows = rows - mean[:, None].astype(np.float32)
    return rows, mean
