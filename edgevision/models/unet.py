"""U-Nets: on MobileNets, in depthwise-separable blocks, and the paper's own as the yardstick.

Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
arXiv:1505.04597, figure 1. Padding is ``same`` instead of ``valid``, so that the output has the
image's size, and convolutions are normalized, which leaves no trace in a deployed file.

A U-Net on a MobileNet has the layers of the classifier under the same names, so any weights of the
classifier fill its encoder. All layers of a decoder begin with ``head_``.
"""

from __future__ import annotations

from functools import partial

from edgevision.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from edgevision.models.blocks import conv_norm_act, make_divisible
from edgevision.models.config import NetworkConfig
from edgevision.models.net import Activation, Features, Net, T
from edgevision.models.spec import Backbone, ModelSpec
from edgevision.models.unet_decoder import (
    NORM,
    Block,
    Decoder,
    decode,
    enlarge_by_the_paper,
    enlarge_lightly,
    filter_fully,
    filter_separably,
)
from edgevision.specs import Task, Upsampling

FAMILY = "unet"
PAPER = "arXiv:1505.04597"

FILTERS = (64, 128, 256, 512, 1024)
"""Channels of the paper's five levels."""

_EXPANDING = {2**level: filters for level, filters in enumerate(FILTERS[:-1])}

MOBILE_DECODER = Decoder(
    {16: 256, 8: 128, 4: 64, 2: 32, 1: 16}, enlarge_lightly, filter_separably, 1
)
SEPARABLE_DECODER = Decoder(_EXPANDING, enlarge_lightly, filter_separably, 2)
PAPER_DECODER = Decoder(_EXPANDING, enlarge_by_the_paper, filter_fully, 2)


def encode_mobile(net: Net[T], x: T, config: NetworkConfig, *, backbone: Backbone) -> Features[T]:
    """Write a classifier's backbone and add the image itself as the map at stride 1."""
    features = backbone(net, x, config)
    return Features(
        last=features.last,
        levels={1: x, **features.levels},
        expanded={1: x, **features.expanded},
    )


def decode_mobile(net: Net[T], features: Features[T], config: NetworkConfig) -> T:
    """Write the decoder behind a MobileNet.

    A MobileNet's first layer halves the image already. What is thinner than two pixels reaches the
    output by one small convolution beside it.
    """
    filters = make_divisible(MOBILE_DECODER.filters[1] * config.alpha)
    sharp = conv_norm_act(
        net,
        features.at(1),
        filters,
        3,
        norm=NORM,
        activation=Activation.RELU6,
        name="head_image",
    )
    joined = Features(
        last=features.last, levels=features.levels, expanded={**features.expanded, 1: sharp}
    )
    return decode(net, joined, config, decoder=MOBILE_DECODER)


def encode_by_the_paper(net: Net[T], x: T, config: NetworkConfig, *, block: Block) -> Features[T]:
    """Write the contracting path: two blocks per level, levels numbered from 1, pooled between.

    The first layer sees the image's few channels and is a full convolution in any case.
    """
    levels: dict[int, T] = {}
    for level, width in enumerate(FILTERS, start=1):
        name, filters = f"level_{level}", make_divisible(width * config.alpha)
        if levels:
            x = net.max_pool(x, 2, stride=2, name=f"{name}_pool")
        first = block if levels else filter_fully
        x = first(net, x, filters, name=f"{name}_conv_1")
        x = block(net, x, filters, name=f"{name}_conv_2")
        levels[2 ** (level - 1)] = x
    return Features(last=x, levels=levels, expanded=levels)


_V3 = {spec.name: spec for spec in mobilenet_v3.SPECS}

_ENCODERS = (
    mobilenet_v1.SPECS[0],
    mobilenet_v2.SPECS[0],
    _V3["mobilenet_v3_small"],
    _V3["mobilenet_v3_large"],
)

SPECS = (
    *(
        ModelSpec(
            name=f"unet_{classifier.name}",
            task=Task.SEGMENT,
            family=FAMILY,
            paper=PAPER,
            backbone=partial(encode_mobile, backbone=classifier.backbone),
            head=decode_mobile,
            input_size=(256, 256),
            published=classifier.published,
        )
        for classifier in _ENCODERS
    ),
    ModelSpec(
        name="unet_separable",
        task=Task.SEGMENT,
        family=FAMILY,
        paper=PAPER,
        backbone=partial(encode_by_the_paper, block=filter_separably),
        head=partial(decode, decoder=SEPARABLE_DECODER),
        input_size=(256, 256),
    ),
    ModelSpec(
        name="unet",
        task=Task.SEGMENT,
        family=FAMILY,
        paper=PAPER,
        backbone=partial(encode_by_the_paper, block=filter_fully),
        head=partial(decode, decoder=PAPER_DECODER),
        dropout=0.5,
        input_size=(512, 512),
        upsampling=Upsampling.TRANSPOSED,
    ),
)
