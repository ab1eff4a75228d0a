"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv:1801.04381,
table 2. Layers, padding and rounding are those of ``keras.applications.MobileNetV2``, whose
weights therefore fit.
"""

from __future__ import annotations

from edgevision.models.blocks import Inverted, Norm, conv_norm_act, make_divisible
from edgevision.models.config import NetworkConfig
from edgevision.models.heads import dense_head
from edgevision.models.inverted import stack_inverted
from edgevision.models.net import Activation, Features, Net, T
from edgevision.models.spec import ModelSpec, PublishedFile, PublishedWeights
from edgevision.specs import Task

STEM_FILTERS = 32
LAST_FILTERS = 1280

ROWS = (
    Inverted(1, 16),
    Inverted(6, 24, 2),
    Inverted(6, 24),
    Inverted(6, 32, 2),
    *[Inverted(6, 32)] * 2,
    Inverted(6, 64, 2),
    *[Inverted(6, 64)] * 3,
    *[Inverted(6, 96)] * 3,
    Inverted(6, 160, 2),
    *[Inverted(6, 160)] * 2,
    Inverted(6, 320),
)

_NORM = Norm(momentum=0.999, epsilon=1e-3)


def scale_filters(filters: int, alpha: float) -> int:
    """Apply the width multiplier: cut off, then round to eights.

    >>> scale_filters(24, 0.35)
    8
    """
    return make_divisible(int(filters * alpha))


def mobilenet_v2_backbone(net: Net[T], x: T, config: NetworkConfig) -> Features[T]:
    """Write the network up to its last feature map; blocks are numbered from 0."""
    alpha, relu6 = config.alpha, Activation.RELU6
    stem = make_divisible(STEM_FILTERS * alpha)
    x = conv_norm_act(net, x, stem, 3, stride=2, norm=_NORM, activation=relu6, name="stem")
    features = stack_inverted(
        net,
        x,
        ROWS,
        filters=[scale_filters(row.filters, alpha) for row in ROWS],
        expanded=lambda channels, row: int(channels * row.expansion),
        norm=_NORM,
        output_stride=config.output_stride,
    )
    # The paper leaves the last layer at 1,280 channels for multipliers below 1.
    last = make_divisible(LAST_FILTERS * max(alpha, 1.0))
    x = conv_norm_act(net, features.last, last, 1, norm=_NORM, activation=relu6, name="last_conv")
    return features.ending_in(x)


_PUBLISHED = PublishedWeights(
    address="https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/",
    files={
        (alpha, side): PublishedFile(
            file=f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{side}.h5"
        )
        for alpha, sides in (
            (0.35, (96, 128, 160, 192, 224)),
            (0.5, (96, 128, 160, 192, 224)),
            (0.75, (96, 128, 160, 192, 224)),
            (1.0, (96, 128, 160, 192, 224)),
            (1.3, (224,)),
            (1.4, (224,)),
        )
        for side in sides
    },
)

SPECS = (
    ModelSpec(
        name="mobilenet_v2",
        task=Task.CLASSIFY,
        family="mobilenet_v2",
        paper="arXiv:1801.04381",
        backbone=mobilenet_v2_backbone,
        head=dense_head,
        published=_PUBLISHED,
    ),
)
