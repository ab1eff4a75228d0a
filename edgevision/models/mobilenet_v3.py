"""MobileNetV3 Small and Large, and their minimalistic variants.

Howard et al. 2019, "Searching for MobileNetV3", arXiv:1905.02244, tables 1 and 2. Layers, padding
and rounding are those of ``keras.applications.MobileNetV3Small`` and ``…Large`` with
``include_preprocessing=False``, whose weights therefore fit. The minimalistic networks keep the
dimensions and drop what accelerators run badly: squeeze-and-excite, hard-swish and 5×5 kernels.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from edgevision.models.blocks import Inverted, Norm, conv_norm_act, make_divisible
from edgevision.models.config import NetworkConfig
from edgevision.models.heads import conv_head
from edgevision.models.inverted import stack_inverted
from edgevision.models.net import Activation, Features, Net, T
from edgevision.models.spec import ModelSpec, PublishedFile, PublishedWeights
from edgevision.specs import Task

STEM_FILTERS = 16

_RELU, _SWISH = Activation.RELU, Activation.HARD_SWISH

SMALL_ROWS = (
    Inverted(1, 16, 2, 3, True, _RELU),
    Inverted(72 / 16, 24, 2, 3, False, _RELU),
    Inverted(88 / 24, 24, 1, 3, False, _RELU),
    Inverted(4, 40, 2, 5, True, _SWISH),
    *[Inverted(6, 40, 1, 5, True, _SWISH)] * 2,
    *[Inverted(3, 48, 1, 5, True, _SWISH)] * 2,
    Inverted(6, 96, 2, 5, True, _SWISH),
    *[Inverted(6, 96, 1, 5, True, _SWISH)] * 2,
)

LARGE_ROWS = (
    Inverted(1, 16, 1, 3, False, _RELU),
    Inverted(4, 24, 2, 3, False, _RELU),
    Inverted(3, 24, 1, 3, False, _RELU),
    Inverted(3, 40, 2, 5, True, _RELU),
    *[Inverted(3, 40, 1, 5, True, _RELU)] * 2,
    Inverted(6, 80, 2, 3, False, _SWISH),
    Inverted(2.5, 80, 1, 3, False, _SWISH),
    *[Inverted(2.3, 80, 1, 3, False, _SWISH)] * 2,
    *[Inverted(6, 112, 1, 3, True, _SWISH)] * 2,
    Inverted(6, 160, 2, 5, True, _SWISH),
    *[Inverted(6, 160, 1, 5, True, _SWISH)] * 2,
)

_NORM = Norm(momentum=0.999, epsilon=1e-3)


class Variant(NamedTuple):
    """One of the four networks: its table, its activation and its last layer's channels."""

    rows: tuple[Inverted, ...]
    activation: Activation
    last_filters: int


def simplify(variant: Variant) -> Variant:
    """Return the minimalistic form: 3×3 kernels, ReLU, no squeeze-and-excite."""
    rows = tuple(row._replace(kernel=3, squeeze=False, activation=_RELU) for row in variant.rows)
    return variant._replace(rows=rows, activation=_RELU)


SMALL = Variant(SMALL_ROWS, _SWISH, 1024)
LARGE = Variant(LARGE_ROWS, _SWISH, 1280)


def mobilenet_v3_backbone(
    net: Net[T], x: T, config: NetworkConfig, *, variant: Variant
) -> Features[T]:
    """Write the network up to its last feature map; the stem is never widened."""
    x = conv_norm_act(
        net, x, STEM_FILTERS, 3, stride=2, norm=_NORM, activation=variant.activation, name="stem"
    )
    features = stack_inverted(
        net,
        x,
        variant.rows,
        filters=[make_divisible(row.filters * config.alpha) for row in variant.rows],
        expanded=lambda channels, row: make_divisible(channels * row.expansion),
        norm=_NORM,
        output_stride=config.output_stride,
    )
    last = make_divisible(net.shape_of(features.last)[-1] * 6)
    x = conv_norm_act(
        net, features.last, last, 1, norm=_NORM, activation=variant.activation, name="last_conv"
    )
    return features.ending_in(x)


def mobilenet_v3_head(
    net: Net[T], features: Features[T], config: NetworkConfig, *, variant: Variant
) -> T:
    """Classify behind a hidden layer that grows only for multipliers above 1."""
    hidden = make_divisible(variant.last_filters * max(config.alpha, 1.0))
    return conv_head(net, features, config, hidden=hidden, activation=variant.activation)


_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v3/"

# name, variant, published alphas with the MD5 that keras.applications checks.
_TABLE: tuple[tuple[str, Variant, dict[float, str]], ...] = (
    (
        "small",
        SMALL,
        {0.75: "cb65d4e5be93758266aa0a7f2c6708b7", 1.0: "8768d4c2e7dee89b9d02b2d03d65d862"},
    ),
    (
        "large",
        LARGE,
        {0.75: "765b44a33ad4005b3ac83185abf1d0eb", 1.0: "59e551e166be033d707958cf9e29a6a7"},
    ),
    ("small_minimalistic", simplify(SMALL), {1.0: "99cd97fb2fcdad2bf028eb838de69e37"}),
    ("large_minimalistic", simplify(LARGE), {1.0: "675e7b876c45c57e9e63e6d90a36599c"}),
)


def _publish(name: str, checksums: dict[float, str]) -> PublishedWeights:
    files = {
        (alpha, 224): PublishedFile(
            file=f"weights_mobilenet_v3_{name}_224_{alpha}_float.h5", md5=md5
        )
        for alpha, md5 in checksums.items()
    }
    return PublishedWeights(address=_ADDRESS, files=files)


SPECS = tuple(
    ModelSpec(
        name=f"mobilenet_v3_{name}",
        task=Task.CLASSIFY,
        family="mobilenet_v3",
        paper="arXiv:1905.02244",
        backbone=partial(mobilenet_v3_backbone, variant=variant),
        head=partial(mobilenet_v3_head, variant=variant),
        dropout=0.2,
        published=_publish(name, checksums),
    )
    for name, variant, checksums in _TABLE
)
