"""MobileNetV4, the purely convolutional networks: universal inverted bottlenecks.

Qin et al. 2024, "MobileNetV4: Universal Models for the Mobile Ecosystem", arXiv:2404.10518,
section 3 and the tables of its appendix. Every activation is a ReLU, so an int8 file stays in one
piece on any accelerator.

The rows are those of the TensorFlow Model Garden, whose Small network activates the projections
of its two fused blocks. Batch normalization has the epsilon of its Medium and Large networks; the
momentum, 0.99, is ours. No weights are published for Keras.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from edgevision.models.blocks import Norm, Step, conv_norm_act, make_divisible, norm_act, plan_steps
from edgevision.models.config import NetworkConfig
from edgevision.models.heads import conv_head
from edgevision.models.net import Activation, Features, Net, T
from edgevision.models.spec import ModelSpec
from edgevision.specs import Task

LAST_FILTERS = 960
HIDDEN_FILTERS = 1280

_RELU, _LINEAR = Activation.RELU, Activation.LINEAR
_NORM = Norm(momentum=0.99, epsilon=1e-3)


class Fused(NamedTuple):
    """A row of the stem: one full 3×3 convolution widens and steps, a pointwise one projects.

    Attributes:
        expansion: Expanded channels divided by the block's input channels.
        filters: Output channels before the width multiplier.
        stride: 1 or 2.
        activation: After the projection.
    """

    expansion: float
    filters: int
    stride: int = 2
    activation: Activation = _LINEAR


class Universal(NamedTuple):
    """A universal inverted bottleneck: an inverted residual whose depthwise kernels are optional.

    With both kernels it is the paper's ExtraDW block, with the inner one alone an inverted
    bottleneck, with the outer one alone a ConvNext block, with neither a feed-forward block.

    Attributes:
        outer: Side of the depthwise kernel before the expansion; 0 leaves it out.
        inner: Side of the one after it; 0 leaves it out. It takes the stride.
        filters: Output channels before the width multiplier.
        expansion: Expanded channels divided by the block's input channels.
        stride: 1 or 2.
    """

    outer: int
    inner: int
    filters: int
    expansion: float
    stride: int = 1


Row = Fused | Universal


class Variant(NamedTuple):
    """One of the three networks: its stem, its table and the dropout it was trained with."""

    stem_filters: int
    rows: tuple[Row, ...]
    dropout: float


SMALL = Variant(
    32,
    (
        Fused(1, 32, activation=_RELU),
        Fused(3, 64, activation=_RELU),
        Universal(5, 5, 96, 3, 2),
        *[Universal(0, 3, 96, 2)] * 4,
        Universal(3, 0, 96, 4),
        Universal(3, 3, 128, 6, 2),
        Universal(5, 5, 128, 4),
        Universal(0, 5, 128, 4),
        Universal(0, 5, 128, 3),
        *[Universal(0, 3, 128, 4)] * 2,
    ),
    0.3,
)

MEDIUM = Variant(
    32,
    (
        Fused(4, 48),
        Universal(3, 5, 80, 4, 2),
        Universal(3, 3, 80, 2),
        Universal(3, 5, 160, 6, 2),
        *[Universal(3, 3, 160, 4)] * 2,
        Universal(3, 5, 160, 4),
        Universal(3, 3, 160, 4),
        Universal(3, 0, 160, 4),
        Universal(0, 0, 160, 2),
        Universal(3, 0, 160, 4),
        Universal(5, 5, 256, 6, 2),
        Universal(5, 5, 256, 4),
        *[Universal(3, 5, 256, 4)] * 2,
        Universal(0, 0, 256, 4),
        Universal(3, 0, 256, 4),
        Universal(3, 5, 256, 2),
        Universal(5, 5, 256, 4),
        *[Universal(0, 0, 256, 4)] * 2,
        Universal(5, 0, 256, 2),
    ),
    0.2,
)

LARGE = Variant(
    24,
    (
        Fused(4, 48),
        Universal(3, 5, 96, 4, 2),
        Universal(3, 3, 96, 4),
        Universal(3, 5, 192, 4, 2),
        *[Universal(3, 3, 192, 4)] * 3,
        Universal(3, 5, 192, 4),
        *[Universal(5, 3, 192, 4)] * 5,
        Universal(3, 0, 192, 4),
        Universal(5, 5, 512, 4, 2),
        *[Universal(5, 5, 512, 4)] * 3,
        Universal(5, 0, 512, 4),
        Universal(5, 3, 512, 4),
        *[Universal(5, 0, 512, 4)] * 2,
        Universal(5, 3, 512, 4),
        Universal(5, 5, 512, 4),
        *[Universal(5, 0, 512, 4)] * 3,
    ),
    0.2,
)


def mobilenet_v4_backbone(
    net: Net[T], x: T, config: NetworkConfig, *, variant: Variant
) -> Features[T]:
    """Write the network up to its last feature map; blocks are numbered from 0."""
    alpha = config.alpha
    stem = make_divisible(variant.stem_filters * alpha)
    x = conv_norm_act(net, x, stem, 3, stride=2, norm=_NORM, activation=_RELU, name="stem")
    levels, wide = {2: x}, {2: x}
    steps = plan_steps(
        (row.stride for row in variant.rows), reached=2, output_stride=config.output_stride
    )
    for number, (row, step) in enumerate(zip(variant.rows, steps, strict=True)):
        filters = make_divisible(row.filters * alpha)
        y, inner = _write_block(net, x, filters, step, row=row, name=f"block_{number}")
        # What a block holds before it steps still has the resolution of its input.
        wide[step.reached // step.stride] = inner
        # A row that steps in the paper has no shortcut, also where dilation replaces the step.
        shortcut = row.stride == 1 and net.shape_of(x) == net.shape_of(y)
        x = net.add([x, y], name=f"block_{number}_add") if shortcut else y
        levels[step.reached] = x
    wide[step.reached] = x
    last = make_divisible(LAST_FILTERS * alpha)
    x = conv_norm_act(net, x, last, 1, norm=_NORM, activation=_RELU, name="last_conv")
    return Features(last=x, levels=levels, expanded=wide).ending_in(x)


def mobilenet_v4_head(net: Net[T], features: Features[T], config: NetworkConfig) -> T:
    """Classify behind a hidden layer that grows only for multipliers above 1."""
    hidden = make_divisible(HIDDEN_FILTERS * max(config.alpha, 1.0))
    return conv_head(net, features, config, hidden=hidden, activation=_RELU, norm=_NORM)


def _write_block(
    net: Net[T], x: T, filters: int, step: Step, *, row: Row, name: str
) -> tuple[T, T]:
    """Return the block's output and the widest map it holds before it steps."""
    channels = make_divisible(net.shape_of(x)[-1] * row.expansion)
    if isinstance(row, Fused):
        y = _fuse(net, x, channels, step, name=name)
        return _project(net, y, filters, activation=row.activation, name=name), x
    if row.outer:
        keep = step._replace(stride=1)
        x = _filter(net, x, row.outer, keep, activation=_LINEAR, name=f"{name}_outer_depthwise")
    inner = conv_norm_act(net, x, channels, 1, norm=_NORM, activation=_RELU, name=f"{name}_expand")
    y = inner
    if row.inner:
        y = _filter(net, inner, row.inner, step, activation=_RELU, name=f"{name}_depthwise")
    return _project(net, y, filters, activation=_LINEAR, name=name), inner


def _fuse(net: Net[T], x: T, channels: int, step: Step, *, name: str) -> T:
    """Widen and step by one full convolution."""
    x = net.conv(
        x,
        channels,
        3,
        stride=step.stride,
        dilation=step.dilation,
        use_bias=False,
        name=f"{name}_expand",
    )
    return norm_act(net, x, norm=_NORM, activation=_RELU, name=f"{name}_expand")


def _filter(net: Net[T], x: T, kernel: int, step: Step, *, activation: Activation, name: str) -> T:
    """Convolve each channel and normalize."""
    x = net.depthwise_conv(
        x, kernel, stride=step.stride, dilation=step.dilation, use_bias=False, name=name
    )
    return norm_act(net, x, norm=_NORM, activation=activation, name=name)


def _project(net: Net[T], x: T, filters: int, *, activation: Activation, name: str) -> T:
    return conv_norm_act(
        net, x, filters, 1, norm=_NORM, activation=activation, name=f"{name}_project"
    )


SPECS = tuple(
    ModelSpec(
        name=f"mobilenet_v4_conv_{name}",
        task=Task.CLASSIFY,
        family="mobilenet_v4",
        paper="arXiv:2404.10518",
        backbone=partial(mobilenet_v4_backbone, variant=variant),
        head=mobilenet_v4_head,
        dropout=variant.dropout,
    )
    for name, variant in (("small", SMALL), ("medium", MEDIUM), ("large", LARGE))
)
