"""SSD on a feature pyramid with depthwise-separable convolutions: "FPNLite".

Lin et al. 2017, "Feature Pyramid Networks for Object Detection", arXiv:1612.03144, with the shared
predictors of Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002. Levels,
depths and the split of shared kernels and separate BatchNorm are those of the TensorFlow Object
Detection API's published configuration for COCO; the tower of the predictors keeps its depth for
every alpha, as there.

Three things differ. The backbone is the classifier's. Coarse maps are enlarged bilinearly instead
of by repeating cells, which XNNPACK runs and which fits sides that are no exact doubles. Centres of
anchors divide the image evenly, also on levels whose stride does not divide its side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from edgevision.models import mobilenet_v2
from edgevision.models.anchor_plans import (
    PYRAMID_RATIOS,
    PYRAMID_SCALES,
    PYRAMID_STRIDES,
    plan_pyramid_anchors,
)
from edgevision.models.blocks import Norm, norm_act
from edgevision.models.config import NetworkConfig
from edgevision.models.net import Activation, Features, Interpolation, Net, T
from edgevision.models.predictions import BOX_VALUES, count_scores, join_predictions
from edgevision.models.spec import ModelSpec
from edgevision.models.ssd import scale_depth
from edgevision.specs import Task

PYRAMID_DEPTH = 128
TOWER_DEPTH = 128
TOWER_LAYERS = 4

LEVELS = tuple(stride.bit_length() - 1 for stride in PYRAMID_STRIDES)
"""A level is the number of times that its map was halved."""

_NORM = Norm(momentum=0.97, epsilon=1e-3)
_norm_act = partial(norm_act, norm=_NORM, activation=Activation.RELU6)


def fpn_lite_head(net: Net[T], features: Features[T], config: NetworkConfig) -> dict[str, T]:
    """Predict boxes and scores on five levels by the same kernels."""
    depth = scale_depth(PYRAMID_DEPTH, config.alpha)
    maps = run_tower(net, build_pyramid(net, features, depth))
    anchors = len(PYRAMID_RATIOS) * len(PYRAMID_SCALES)
    boxes = separable_each(net, maps, anchors * BOX_VALUES, use_bias=True, name="head_boxes")
    filters = anchors * count_scores(config)
    scores = separable_each(net, maps, filters, use_bias=True, name="head_scores")
    return join_predictions(net, boxes, scores, config)


def build_pyramid(net: Net[T], features: Features[T], depth: int) -> list[T]:
    """Bring the maps at strides 8, 16 and 32 to one depth from the top down, and add two above."""
    top = net.conv(features.last, depth, 1, name="head_lateral_5")
    maps = [top]
    for level in (4, 3):
        lateral = net.conv(features.at(2**level), depth, 1, name=f"head_lateral_{level}")
        height, width = net.shape_of(lateral)[:2]
        x = net.resize(
            maps[0], (height, width), interpolation=Interpolation.BILINEAR, name=f"head_up_{level}"
        )
        x = net.add([x, lateral], name=f"head_add_{level}")
        maps.insert(0, separable(net, x, depth, stride=1, name=f"head_level_{level}"))
    for level in (6, 7):
        maps.append(separable(net, maps[-1], depth, stride=2, name=f"head_level_{level}"))
    return maps


def run_tower(net: Net[T], maps: Sequence[T]) -> list[T]:
    """Apply the layers in front of the predictors; each level keeps BatchNorm of its own."""
    maps = list(maps)
    for number in range(TOWER_LAYERS):
        name = f"head_tower_{number}"
        maps = separable_each(net, maps, TOWER_DEPTH, use_bias=False, name=name)
        maps = [
            _norm_act(net, x, name=f"{name}_level_{level}")
            for x, level in zip(maps, LEVELS, strict=True)
        ]
    return maps


def separable(net: Net[T], x: T, filters: int, *, stride: int, name: str) -> T:
    """Convolve 3×3 depthwise and then pointwise, with one normalization behind both."""
    x = net.depthwise_conv(x, 3, stride=stride, use_bias=False, name=f"{name}_depthwise")
    x = net.conv(x, filters, 1, use_bias=False, name=name)
    return _norm_act(net, x, name=name)


def separable_each(
    net: Net[T], maps: Sequence[T], filters: int, *, use_bias: bool, name: str
) -> list[T]:
    """Convolve all maps 3×3 depthwise and then pointwise by the same kernels."""
    maps = net.depthwise_conv_each(maps, 3, use_bias=False, name=f"{name}_depthwise")
    return net.conv_each(maps, filters, 1, use_bias=use_bias, name=name)


_V2 = mobilenet_v2.SPECS[0]

SPECS = (
    ModelSpec(
        name="ssd_mobilenet_v2_fpnlite",
        task=Task.DETECT,
        family="ssd",
        paper="arXiv:1708.02002",
        backbone=_V2.backbone,
        head=fpn_lite_head,
        input_size=(320, 320),
        published=_V2.published,
        anchors=plan_pyramid_anchors,
    ),
)
