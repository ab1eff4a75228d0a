"""The words in which every architecture is written: about twenty primitives, read twice.

A network function such as ``mobilenet_v2_backbone(net, x, config)`` calls these primitives and
nothing else. ``KerasNet`` turns the calls into Keras layers, ``GraphNet`` turns the same calls
into a ``Graph`` of shapes, so that MACs and memory are known before TensorFlow is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from edgevision.errors import InvalidConfigError

T = TypeVar("T")
"""A tensor of the reading at hand: a Keras tensor, or a ``graph.Tensor`` with a shape only."""

Pair = int | tuple[int, int]
"""One number for both directions, or ``(height, width)``."""

Margins = tuple[tuple[int, int], tuple[int, int]]
"""``((top, bottom), (left, right))`` in pixels."""


class Activation(StrEnum):
    """Element-wise functions (and the softmax) that every target can run."""

    LINEAR = "linear"
    RELU = "relu"
    RELU6 = "relu6"
    HARD_SWISH = "hard_swish"
    HARD_SIGMOID = "hard_sigmoid"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


class Padding(StrEnum):
    """How windows meet the border, as TensorFlow names it."""

    SAME = "same"
    VALID = "valid"


class PoolKind(StrEnum):
    """What a pooling window keeps."""

    AVERAGE = "average"
    MAX = "max"


class Interpolation(StrEnum):
    """How ``resize`` fills in pixels; half-pixel centres, no antialiasing."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"


class Net(Protocol[T]):
    """What a network function may call. Tensors are ``(batch, height, width, channels)``.

    Every ``name`` must be unique within one network; it names the layer in reports and files.
    """

    def shape_of(self, x: T) -> tuple[int, ...]:
        """Return the shape without the batch: ``(height, width, channels)`` for feature maps."""

    def input(self, shape: tuple[int, ...], *, name: str) -> T:
        """Declare an input of ``shape`` (without the batch), float32."""

    def conv(
        self,
        x: T,
        filters: int,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Padding = Padding.SAME,
        groups: int = 1,
        use_bias: bool = True,
    ) -> T:
        """Convolve with ``filters`` kernels."""

    def depthwise_conv(
        self,
        x: T,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Padding = Padding.SAME,
        multiplier: int = 1,
        use_bias: bool = True,
    ) -> T:
        """Convolve each channel with ``multiplier`` kernels of its own."""

    def transpose_conv(
        self,
        x: T,
        filters: int,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 2,
        padding: Padding = Padding.SAME,
        use_bias: bool = True,
    ) -> T:
        """Upsample by a transposed convolution."""

    def conv_each(
        self, maps: Sequence[T], filters: int, kernel: Pair, *, name: str, use_bias: bool = True
    ) -> list[T]:
        """Convolve several maps of equal channels with the same ``filters`` kernels, stride 1."""

    def depthwise_conv_each(
        self, maps: Sequence[T], kernel: Pair, *, name: str, use_bias: bool = True
    ) -> list[T]:
        """Convolve each channel of several maps with the same kernel, stride 1."""

    def batch_norm(self, x: T, *, name: str, momentum: float = 0.99, epsilon: float = 1e-3) -> T:
        """Normalize each channel; scale and offset are trained, mean and variance tracked."""

    def activation(self, x: T, function: Activation, *, name: str) -> T:
        """Apply ``function``; ``linear`` adds nothing."""

    def zero_pad(self, x: T, margins: Margins, *, name: str) -> T:
        """Surround with zeros."""

    def global_pool(
        self, x: T, *, name: str, kind: PoolKind = PoolKind.AVERAGE, keepdims: bool = False
    ) -> T:
        """Pool each channel to one number: ``(channels,)``, or ``(1, 1, channels)``."""

    def max_pool(
        self, x: T, size: Pair, *, name: str, stride: Pair, padding: Padding = Padding.VALID
    ) -> T:
        """Keep the largest value of each window."""

    def avg_pool(
        self, x: T, size: Pair, *, name: str, stride: Pair, padding: Padding = Padding.VALID
    ) -> T:
        """Keep the mean of each window; padding does not count into it."""

    def dense(self, x: T, units: int, *, name: str, use_bias: bool = True) -> T:
        """Multiply the last axis with a matrix."""

    def dropout(self, x: T, rate: float, *, name: str) -> T:
        """Drop values in training; nothing is left of it in a deployed file."""

    def add(self, values: Sequence[T], *, name: str) -> T:
        """Add tensors of one shape."""

    def multiply(self, values: Sequence[T], *, name: str) -> T:
        """Multiply tensors; sizes of 1 are repeated."""

    def concat(self, values: Sequence[T], *, name: str, axis: int = -1) -> T:
        """Join along ``axis`` (counted with the batch, or from the end)."""

    def resize(
        self,
        x: T,
        size: tuple[int, int],
        *,
        name: str,
        interpolation: Interpolation = Interpolation.BILINEAR,
    ) -> T:
        """Resize feature maps to ``(height, width)``."""

    def reshape(self, x: T, shape: tuple[int, ...], *, name: str) -> T:
        """Give another shape (without the batch) to the same values; one size may be -1."""

    def flatten(self, x: T, *, name: str) -> T:
        """Give the shape ``(values,)``."""

    def rescale(self, x: T, *, name: str, scale: float, offset: float = 0.0) -> T:
        """Compute ``x * scale + offset``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features(Generic[T]):
    """Feature maps of a backbone.

    Attributes:
        last: What a classifier's head takes.
        levels: The last feature map at each stride (2, 4, 8, 16, 32 …).
        expanded: For networks of inverted residuals, the expanded map inside the block that
            leaves each stride: the richest map there is, which SSDLite and U-Nets attach to
            (Sandler et al. 2018, section 6.2). Equal to ``levels`` for other networks.
    """

    last: T
    levels: Mapping[int, T]
    expanded: Mapping[int, T] = field(default_factory=dict)

    def ending_in(self, last: T) -> Features[T]:
        """Return these features with one more layer at the end, at the same stride."""
        end = {max(self.levels): last}
        return Features(last=last, levels={**self.levels, **end}, expanded={**self.expanded, **end})

    def at(self, stride: int, *, expanded: bool = False) -> T:
        """Return the last feature map at ``stride``, or the ``expanded`` one.

        Raises:
            InvalidConfigError: The network has no map at that stride.
        """
        maps = self.expanded if expanded else self.levels
        if stride not in maps:
            raise InvalidConfigError(
                "the network has no features at this stride",
                received=f"stride={stride}",
                remedy=f"choose one of {', '.join(map(str, maps))}",
            )
        return maps[stride]


def as_pair(value: Pair) -> tuple[int, int]:
    """Return ``(height, width)`` of a number or a pair.

    >>> as_pair(3)
    (3, 3)
    """
    return (value, value) if isinstance(value, int) else value
