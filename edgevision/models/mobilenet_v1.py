"""MobileNetV1: a stack of depthwise-separable convolutions.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861, table 1. Layers, padding and rounding are those of
``keras.applications.MobileNet``, whose weights therefore fit.
"""

from __future__ import annotations

from edgevision.errors import InvalidConfigError
from edgevision.models.blocks import Norm, Separable, conv_norm_act, plan_steps, separable
from edgevision.models.config import NetworkConfig
from edgevision.models.heads import conv_head
from edgevision.models.net import Activation, Features, Net, T
from edgevision.models.spec import ModelSpec, PublishedFile, PublishedWeights
from edgevision.specs import Task

STEM_FILTERS = 32

ROWS = (
    Separable(64),
    Separable(128, 2),
    Separable(128),
    Separable(256, 2),
    Separable(256),
    Separable(512, 2),
    *[Separable(512)] * 5,
    Separable(1024, 2),
    Separable(1024),
)

_NORM = Norm(momentum=0.99, epsilon=1e-3)


def scale_filters(filters: int, alpha: float) -> int:
    """Apply the width multiplier as the reference does: cut off, no rounding to eights.

    Raises:
        InvalidConfigError: No channel is left.

    >>> scale_filters(32, 0.3)
    9
    """
    scaled = int(filters * alpha)
    if scaled < 1:
        raise InvalidConfigError(
            "alpha leaves a layer without channels",
            received=f"alpha={alpha}",
            remedy=f"use at least {1 / STEM_FILTERS}",
        )
    return scaled


def mobilenet_v1_backbone(
    net: Net[T], x: T, config: NetworkConfig, *, round_up: bool = False
) -> Features[T]:
    """Write the network up to its last feature map; blocks are numbered from 1.

    Args:
        net: The reading.
        x: The image.
        config: Alpha and output stride.
        round_up: Half of an odd side rounds up, as in TensorFlow's own detectors, where 300 pixels
            give 19×19 cells; ``keras.applications`` rounds down. Even sides know no difference.
    """
    relu6 = Activation.RELU6
    filters = scale_filters(STEM_FILTERS, config.alpha)
    x = conv_norm_act(net, x, filters, 3, stride=2, norm=_NORM, activation=relu6, name="stem")
    levels = {2: x}
    steps = plan_steps((r.stride for r in ROWS), reached=2, output_stride=config.output_stride)
    for number, (row, step) in enumerate(zip(ROWS, steps, strict=True), start=1):
        filters = scale_filters(row.filters, config.alpha)
        name = f"block_{number}"
        x = separable(
            net, x, filters, step, norm=_NORM, activation=relu6, name=name, round_up=round_up
        )
        levels[step.reached] = x
    return Features(last=x, levels=levels, expanded=levels)


_PUBLISHED = PublishedWeights(
    address="https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/",
    files={
        (alpha, side): PublishedFile(file=f"mobilenet_{text}_{side}_tf.h5")
        for alpha, text in ((0.25, "2_5"), (0.5, "5_0"), (0.75, "7_5"), (1.0, "1_0"))
        for side in (128, 160, 192, 224)
    },
)

SPECS = (
    ModelSpec(
        name="mobilenet_v1",
        task=Task.CLASSIFY,
        family="mobilenet_v1",
        paper="arXiv:1704.04861",
        backbone=mobilenet_v1_backbone,
        head=conv_head,
        dropout=1e-3,
        published=_PUBLISHED,
    ),
)
