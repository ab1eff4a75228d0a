"""SSD and SSDLite detectors on MobileNets: six feature maps, each with predictors of its own.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", arXiv:1512.02325. SSDLite, which predicts by
depthwise-separable convolutions: Sandler et al. 2018, arXiv:1801.04381, section 6.2; on V3: Howard
et al. 2019, arXiv:1905.02244, section 6.3. Maps, depths and kernels are those of the TensorFlow
Object Detection API's published configurations for COCO.

Two choices differ from them. The backbones are those of the classifiers, so that published weights
fit: the last layer of MobileNetV2 is not narrowed for alpha below 1, and MobileNetV3 keeps the full
channels in its last stage. Statistics of BatchNorm move as fast as in the configurations for V3,
because the older ones' 0.9997 needs more steps than transfer learning takes.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from edgevision.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from edgevision.models.anchor_plans import plan_ssd_anchors
from edgevision.models.blocks import Norm, conv_norm_act, norm_act
from edgevision.models.config import NetworkConfig
from edgevision.models.net import Activation, Features, Net, T
from edgevision.models.predictions import BOX_VALUES, count_scores, join_predictions
from edgevision.models.spec import Backbone, ModelSpec
from edgevision.specs import Task

EXTRA_DEPTHS = (512, 256, 256, 128)
MIN_DEPTH = 16

_NORM = Norm(momentum=0.97, epsilon=1e-3)


class Layout(NamedTuple):
    """How one of the networks is built behind its backbone.

    Attributes:
        separable_extras: Whether the extra maps come from depthwise-separable convolutions.
        kernel: Side of the predictors' kernels.
        separable_predictors: Whether they are depthwise-separable.
    """

    separable_extras: bool
    kernel: int
    separable_predictors: bool


SSD_V1 = Layout(separable_extras=False, kernel=1, separable_predictors=False)
SSD_V2 = Layout(separable_extras=True, kernel=3, separable_predictors=False)
SSDLITE = Layout(separable_extras=True, kernel=3, separable_predictors=True)


def scale_depth(depth: int, alpha: float) -> int:
    """Apply the width multiplier to an extra layer.

    >>> scale_depth(512, 0.25), scale_depth(128, 0.1)
    (128, 16)
    """
    return max(int(depth * alpha), MIN_DEPTH)


def ssd_head(
    net: Net[T], features: Features[T], config: NetworkConfig, *, layout: Layout
) -> dict[str, T]:
    """Predict boxes and scores on two maps of the backbone and four more behind them.

    The first map is the expanded one at stride 16, the second the backbone's last.
    """
    maps = [features.at(16, expanded=True), features.last]
    for depth in (scale_depth(depth, config.alpha) for depth in EXTRA_DEPTHS):
        maps.append(shrink(net, maps[-1], depth, layout=layout, name=f"head_map_{len(maps)}"))
    boxes, scores = [], []
    for number, (x, grid) in enumerate(zip(maps, plan_ssd_anchors(config.input_size), strict=True)):
        anchors = len(grid.boxes)
        name = f"head_boxes_{number}"
        boxes.append(predict(net, x, anchors * BOX_VALUES, layout=layout, name=name))
        name = f"head_scores_{number}"
        scores.append(predict(net, x, anchors * count_scores(config), layout=layout, name=name))
    return join_predictions(net, boxes, scores, config)


def shrink(net: Net[T], x: T, depth: int, *, layout: Layout, name: str) -> T:
    """Halve a map: narrow it to half the depth, then step with a 3×3 kernel."""
    relu6 = Activation.RELU6
    narrow = max(depth // 2, MIN_DEPTH)
    x = conv_norm_act(net, x, narrow, 1, norm=_NORM, activation=relu6, name=f"{name}_narrow")
    if not layout.separable_extras:
        return conv_norm_act(net, x, depth, 3, stride=2, norm=_NORM, activation=relu6, name=name)
    x = net.depthwise_conv(x, 3, stride=2, use_bias=False, name=f"{name}_depthwise")
    x = norm_act(net, x, norm=_NORM, activation=relu6, name=f"{name}_depthwise")
    return conv_norm_act(net, x, depth, 1, norm=_NORM, activation=relu6, name=name)


def predict(net: Net[T], x: T, filters: int, *, layout: Layout, name: str) -> T:
    """Predict ``filters`` values in each cell of a map."""
    if not layout.separable_predictors:
        return net.conv(x, filters, layout.kernel, name=name)
    x = net.depthwise_conv(x, layout.kernel, use_bias=False, name=f"{name}_depthwise")
    x = norm_act(net, x, norm=_NORM, activation=Activation.RELU6, name=f"{name}_depthwise")
    return net.conv(x, filters, 1, name=name)


_V1 = mobilenet_v1.SPECS[0]
_V2 = mobilenet_v2.SPECS[0]
_V3 = {spec.name: spec for spec in mobilenet_v3.SPECS}
_SSD_V1_BACKBONE = partial(mobilenet_v1.mobilenet_v1_backbone, round_up=True)

# name, classifier, backbone, layout, side of the input
_TABLE: tuple[tuple[str, ModelSpec, Backbone, Layout, int], ...] = (
    ("ssd_mobilenet_v1", _V1, _SSD_V1_BACKBONE, SSD_V1, 300),
    ("ssd_mobilenet_v2", _V2, _V2.backbone, SSD_V2, 300),
    ("ssdlite_mobilenet_v2", _V2, _V2.backbone, SSDLITE, 320),
    *(
        (f"ssdlite_{name}", _V3[name], _V3[name].backbone, SSDLITE, 320)
        for name in ("mobilenet_v3_small", "mobilenet_v3_large")
    ),
)

SPECS = tuple(
    ModelSpec(
        name=name,
        task=Task.DETECT,
        family="ssd",
        paper="arXiv:1512.02325",
        backbone=backbone,
        head=partial(ssd_head, layout=layout),
        input_size=(side, side),
        published=classifier.published,
        anchors=plan_ssd_anchors,
    )
    for name, classifier, backbone, layout, side in _TABLE
)
