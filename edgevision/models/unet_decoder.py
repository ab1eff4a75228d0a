"""The expanding half of every U-Net: back to the image's resolution, joined with what was there.

Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
arXiv:1505.04597, section 2. Each stage doubles the resolution, joins the encoder's map of that
size and filters both. There is nothing in it but convolutions, bilinear resizes and concatenations
with no activation behind them, so that int8 files stay in one piece on the CPU and on the Edge TPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from edgevision.models.blocks import Norm, Step, conv_norm_act, make_divisible, norm_act, separable
from edgevision.models.config import NetworkConfig
from edgevision.models.net import Activation, Features, Net, T
from edgevision.specs import Upsampling

# Sets of masks are small: the statistics must have settled after a few hundred steps.
NORM = Norm(momentum=0.9, epsilon=1e-3)

_KEEP = Step(stride=1, dilation=1, reached=1)


class Block(Protocol):
    """Filters a map without changing its size."""

    def __call__(self, net: Net[Any], x: Any, filters: int, *, name: str) -> Any:
        """Return a map of ``filters`` channels."""


class Enlarge(Protocol):
    """Brings a map to the size of the next skip connection."""

    def __call__(
        self,
        net: Net[Any],
        x: Any,
        filters: int,
        *,
        size: tuple[int, int],
        upsampling: Upsampling,
        name: str,
    ) -> Any:
        """Return a map of ``filters`` channels and ``size``."""


class Decoder(NamedTuple):
    """How one kind of U-Net expands.

    Attributes:
        filters: Channels at each stride, before the width multiplier.
        enlarge: How a stage begins.
        block: What filters the joined maps.
        num_blocks: How many of them a stage has.
    """

    filters: Mapping[int, int]
    enlarge: Enlarge
    block: Block
    num_blocks: int


# Every class has to pass through the narrowest map: with eight channels for eight classes, training
# loses one class or another for good.
_MIN_FILTERS = 16


def decode(net: Net[T], features: Features[T], config: NetworkConfig, *, decoder: Decoder) -> T:
    """Write the stages from the deepest map to the shallowest, then classify each pixel.

    Expanded maps are joined where the encoder has them. Maps of any size fit: each is enlarged to
    the exact size of the one that it meets.

    Returns:
        ``(height, width, num_classes)`` at the resolution of the shallowest map.
    """
    deepest, *strides = sorted(features.expanded, reverse=True)
    x = features.at(deepest, expanded=True)
    if config.dropout:
        # Where the paper has it: at the end of the contracting path.
        x = net.dropout(x, config.dropout, name="head_dropout")
    for stride in strides:
        skip = features.at(stride, expanded=True)
        filters = max(make_divisible(decoder.filters[stride] * config.alpha), _MIN_FILTERS)
        name = f"head_stride_{stride}"
        size = net.shape_of(skip)[:2]
        x = decoder.enlarge(
            net, x, filters, size=(size[0], size[1]), upsampling=config.upsampling, name=name
        )
        x = net.concat([x, skip], name=f"{name}_join")
        for number in range(1, decoder.num_blocks + 1):
            x = decoder.block(net, x, filters, name=f"{name}_conv_{number}")
    x = net.conv(x, config.num_classes, 1, name="head_logits")
    function = config.classifier_activation
    return net.activation(x, function, name=f"head_{function.value}")


def enlarge_lightly(
    net: Net[T],
    x: T,
    filters: int,
    *,
    size: tuple[int, int],
    upsampling: Upsampling,
    name: str,
) -> T:
    """Narrow the map while it is small, then resize; or do both by one transposed convolution."""
    relu6 = Activation.RELU6
    if upsampling is Upsampling.BILINEAR:
        x = conv_norm_act(net, x, filters, 1, norm=NORM, activation=relu6, name=f"{name}_narrow")
    else:
        x = net.transpose_conv(x, filters, 2, use_bias=False, name=f"{name}_transposed")
        x = norm_act(net, x, norm=NORM, activation=relu6, name=f"{name}_transposed")
    return fit(net, x, size, name=name)


def enlarge_by_the_paper(
    net: Net[T],
    x: T,
    filters: int,
    *,
    size: tuple[int, int],
    upsampling: Upsampling,
    name: str,
) -> T:
    """Resize and convolve 2×2, or do both by one transposed convolution; nothing is activated."""
    if upsampling is Upsampling.BILINEAR:
        return net.conv(fit(net, x, size, name=name), filters, 2, name=f"{name}_up_conv")
    x = net.transpose_conv(x, filters, 2, name=f"{name}_transposed")
    return fit(net, x, size, name=name)


def fit(net: Net[T], x: T, size: tuple[int, int], *, name: str) -> T:
    """Resize a map that has not the wanted size yet.

    Behind a transposed convolution that happens only where the encoder halved an odd side.
    """
    return x if net.shape_of(x)[:2] == size else net.resize(x, size, name=f"{name}_resize")


def filter_fully(net: Net[T], x: T, filters: int, *, name: str) -> T:
    """Convolve 3×3, normalize and activate: the paper's layer."""
    return conv_norm_act(net, x, filters, 3, norm=NORM, activation=Activation.RELU, name=name)


def filter_separably(net: Net[T], x: T, filters: int, *, name: str) -> T:
    """Convolve 3×3 depthwise and then pointwise."""
    return separable(net, x, filters, _KEEP, norm=NORM, activation=Activation.RELU6, name=name)
