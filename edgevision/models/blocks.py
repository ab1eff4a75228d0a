"""Reusable blocks of mobile networks, each written once against ``Net``.

Depthwise-separable convolutions: Howard et al. 2017, arXiv:1704.04861. Inverted residuals with
linear bottlenecks: Sandler et al. 2018, arXiv:1801.04381. Squeeze-and-excite with a hard sigmoid:
Howard et al. 2019, arXiv:1905.02244. Padding and rounding follow the reference implementations,
so that published weights give the published outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from edgevision.models.net import Activation, Margins, Net, Padding, T


class Norm(NamedTuple):
    """Batch normalization as a family's reference trains it."""

    momentum: float = 0.99
    epsilon: float = 1e-3


class Separable(NamedTuple):
    """A row of MobileNetV1's table: depthwise 3×3, then pointwise to ``filters``."""

    filters: int
    stride: int = 1


class Inverted(NamedTuple):
    """A row of the tables of MobileNetV2 and V3.

    Attributes:
        expansion: Expanded channels divided by the block's input channels.
        filters: Output channels before the width multiplier.
        stride: 1 or 2.
        kernel: Side of the depthwise kernel.
        squeeze: Whether squeeze-and-excite follows the depthwise convolution.
        activation: After the expansion and the depthwise convolution; the projection is linear.
    """

    expansion: float
    filters: int
    stride: int = 1
    kernel: int = 3
    squeeze: bool = False
    activation: Activation = Activation.RELU6


class Step(NamedTuple):
    """How one row is applied under an output stride."""

    stride: int
    dilation: int
    reached: int
    """Stride of the row's output relative to the image."""


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round channels to a multiple of ``divisor``, never down by more than a tenth.

    >>> make_divisible(32 * 0.35), make_divisible(24 * 0.5)
    (16, 16)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def plan_steps(strides: Iterable[int], *, reached: int, output_stride: int) -> Iterator[Step]:
    """Yield how each row steps when the network may not go beyond ``output_stride``.

    A row that would step further keeps the resolution, and the rows after it dilate instead, so
    that every kernel still sees what it was trained on.

    >>> [(s.stride, s.dilation) for s in plan_steps([2, 2, 1], reached=8, output_stride=16)]
    [(2, 1), (1, 1), (1, 2)]
    """
    dilation = 1
    for stride in strides:
        if reached * stride > output_stride:
            yield Step(1, dilation, reached)
            dilation *= stride
        else:
            reached *= stride
            yield Step(stride, dilation, reached)


def pad_for_stride(height: int, width: int, kernel: int) -> Margins:
    """Return the margins that a stride-2 ``valid`` convolution needs to act like ``same``.

    An even side gets one pixel less before it, as TensorFlow's own ``same`` does.

    >>> pad_for_stride(112, 57, 3)
    ((0, 1), (1, 1))
    """
    half = kernel // 2
    return (half - 1 + height % 2, half), (half - 1 + width % 2, half)


def conv_norm_act(
    net: Net[T],
    x: T,
    filters: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    norm: Norm,
    activation: Activation,
) -> T:
    """Convolve without bias, normalize, activate."""
    x = net.conv(x, filters, kernel, stride=stride, use_bias=False, name=name)
    return norm_act(net, x, norm=norm, activation=activation, name=name)


def depthwise_norm_act(
    net: Net[T],
    x: T,
    kernel: int,
    *,
    name: str,
    step: Step,
    norm: Norm,
    activation: Activation,
) -> T:
    """Convolve each channel, normalize, activate; a stepping ``x`` must be padded already."""
    x = net.depthwise_conv(
        x,
        kernel,
        stride=step.stride,
        dilation=step.dilation,
        padding=Padding.SAME if step.stride == 1 else Padding.VALID,
        use_bias=False,
        name=name,
    )
    return norm_act(net, x, norm=norm, activation=activation, name=name)


def norm_act(net: Net[T], x: T, *, norm: Norm, activation: Activation, name: str) -> T:
    """Normalize and activate."""
    x = net.batch_norm(x, momentum=norm.momentum, epsilon=norm.epsilon, name=f"{name}_bn")
    return net.activation(x, activation, name=f"{name}_{activation.value}")


def separable(
    net: Net[T],
    x: T,
    filters: int,
    step: Step,
    *,
    name: str,
    norm: Norm,
    activation: Activation,
    round_up: bool = False,
) -> T:
    """Apply MobileNetV1's block: depthwise 3×3, then pointwise to ``filters``.

    The reference pads below and to the right only, whatever the size; ``round_up`` pads an odd
    side on both ends, as ``same`` would.
    """
    if step.stride > 1:
        height, width = net.shape_of(x)[:2]
        margins = pad_for_stride(height, width, 3) if round_up else ((0, 1), (0, 1))
        x = net.zero_pad(x, margins, name=f"{name}_pad")
    x = depthwise_norm_act(
        net, x, 3, step=step, norm=norm, activation=activation, name=f"{name}_depthwise"
    )
    return conv_norm_act(
        net, x, filters, 1, norm=norm, activation=activation, name=f"{name}_pointwise"
    )


def squeeze_excite(net: Net[T], x: T, reduced: int, *, name: str) -> T:
    """Weigh each channel by what all channels hold on average."""
    channels = net.shape_of(x)[-1]
    gate = net.global_pool(x, keepdims=True, name=f"{name}_pool")
    gate = net.conv(gate, reduced, 1, name=f"{name}_reduce")
    gate = net.activation(gate, Activation.RELU, name=f"{name}_relu")
    gate = net.conv(gate, channels, 1, name=f"{name}_expand")
    gate = net.activation(gate, Activation.HARD_SIGMOID, name=f"{name}_hard_sigmoid")
    return net.multiply([x, gate], name=f"{name}_mul")


def expand(net: Net[T], x: T, expanded: int, *, name: str, norm: Norm, row: Inverted) -> T:
    """Widen by a pointwise convolution: the first half of an inverted residual."""
    return conv_norm_act(
        net, x, expanded, 1, norm=norm, activation=row.activation, name=f"{name}_expand"
    )


def contract(
    net: Net[T], x: T, filters: int, step: Step, *, name: str, norm: Norm, row: Inverted
) -> T:
    """Filter depthwise and project linearly: the second half of an inverted residual."""
    expanded = net.shape_of(x)[-1]
    if step.stride > 1:
        height, width = net.shape_of(x)[:2]
        x = net.zero_pad(x, pad_for_stride(height, width, row.kernel), name=f"{name}_pad")
    x = depthwise_norm_act(
        net,
        x,
        row.kernel,
        step=step,
        norm=norm,
        activation=row.activation,
        name=f"{name}_depthwise",
    )
    if row.squeeze:
        x = squeeze_excite(net, x, make_divisible(expanded / 4), name=f"{name}_squeeze")
    x = net.conv(x, filters, 1, use_bias=False, name=f"{name}_project")
    return net.batch_norm(
        x, momentum=norm.momentum, epsilon=norm.epsilon, name=f"{name}_project_bn"
    )
