"""Counts to the unit, for 1,000 classes, or for the 90 of COCO.

Parameters of classifiers are those of ``keras.applications`` (``count_params``); MACs are those of
its convolution and dense layers, which round to the figures in the papers' tables. Detectors are
compared with their papers' figures below.
"""

from __future__ import annotations

import pytest

from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.models.registry import build_graph

V3_SMALL, V3_LARGE = "mobilenet_v3_small", "mobilenet_v3_large"

# name, alpha, side, MACs, all parameters, trainable parameters
ROWS = [
    ("mobilenet_v1", 0.25, 128, 13_570_048, 475_544, 470_072),
    ("mobilenet_v1", 0.25, 224, 41_030_272, 475_544, 470_072),
    ("mobilenet_v1", 0.5, 160, 76_524_800, 1_342_536, 1_331_592),
    ("mobilenet_v1", 0.75, 224, 325_400_448, 2_601_976, 2_585_560),
    ("mobilenet_v1", 1.0, 192, 418_121_728, 4_253_864, 4_231_976),
    ("mobilenet_v1", 1.0, 224, 568_740_352, 4_253_864, 4_231_976),
    ("mobilenet_v2", 0.35, 96, 11_934_128, 1_691_208, 1_677_128),
    ("mobilenet_v2", 0.5, 160, 50_184_000, 1_987_224, 1_968_680),
    ("mobilenet_v2", 0.75, 128, 69_129_728, 2_663_064, 2_636_424),
    ("mobilenet_v2", 1.0, 224, 300_774_272, 3_538_984, 3_504_872),
    ("mobilenet_v2", 1.3, 224, 509_374_560, 5_431_048, 5_386_792),
    ("mobilenet_v2", 1.4, 224, 582_195_824, 6_156_712, 6_108_776),
    (V3_LARGE, 0.75, 224, 154_560_624, 4_012_616, 3_993_528),
    (V3_LARGE, 1.0, 224, 216_589_760, 5_507_432, 5_483_032),
    (V3_SMALL, 0.75, 224, 43_399_344, 2_051_552, 2_041_872),
    (V3_SMALL, 1.0, 224, 56_510_400, 2_554_968, 2_542_856),
    (f"{V3_LARGE}_minimalistic", 1.0, 224, 209_136_704, 3_948_688, 3_924_288),
    (f"{V3_SMALL}_minimalistic", 1.0, 224, 52_288_448, 2_056_848, 2_044_736),
    ("ssd_mobilenet_v1", 1.0, 300, 1_237_129_408, 6_845_183, 6_819_839),
    ("ssd_mobilenet_v2", 1.0, 300, 1_875_065_840, 16_876_287, 16_837_567),
    ("ssdlite_mobilenet_v2", 1.0, 320, 804_397_504, 4_551_295, 4_500_543),
    (f"ssdlite_{V3_SMALL}", 1.0, 320, 210_417_856, 2_543_055, 2_518_271),
    (f"ssdlite_{V3_LARGE}", 1.0, 320, 613_143_104, 5_046_879, 5_006_735),
    ("ssd_mobilenet_v2_fpnlite", 1.0, 320, 985_034_496, 2_667_002, 2_626_746),
]

# name, classes, parameters and MACs as published; those of V2 are in table 6 of arXiv:1801.04381,
# those of V3 in table 6 of arXiv:1905.02244.
PUBLISHED_DETECTORS = [
    ("ssd_mobilenet_v1", 90, 6.79e6, 1.25e9),
    ("ssdlite_mobilenet_v2", 80, 4.3e6, 0.80e9),
    (f"ssdlite_{V3_LARGE}", 90, 4.97e6, 0.62e9),
    (f"ssdlite_{V3_SMALL}", 90, 2.49e6, 0.21e9),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row[:3])))
def test_counts(row: tuple[str, float, int, int, int, int]) -> None:
    name, alpha, side, macs, params, trainable = row
    graph = build_graph(name, alpha=alpha, input_size=side)
    counted = count_params(graph)
    assert count_macs(graph).total == macs
    assert (counted.total, counted.trainable) == (params, trainable)


@pytest.mark.parametrize("row", PUBLISHED_DETECTORS, ids=lambda row: row[0])
def test_detectors_agree_with_their_papers(row: tuple[str, int, float, float]) -> None:
    name, num_classes, params, macs = row
    graph = build_graph(name, num_classes=num_classes)
    assert count_params(graph).total == pytest.approx(params, rel=0.03)
    assert count_macs(graph).total == pytest.approx(macs, rel=0.03)


def test_what_the_published_figure_of_ssdlite_v2_leaves_out() -> None:
    """4.3 M are weights of a deployed file with the 80 classes that COCO really has.

    With 90 class numbers, ten of them unused, each predictor of scores is larger; and Keras counts
    four vectors of a BatchNorm where a deployed file has one bias.
    """
    graph = build_graph("ssdlite_mobilenet_v2")
    unused_classes = 10 * (3 * (576 + 1) + 6 * (1280 + 512 + 256 + 256 + 128 + 5))
    norms = [op for op in graph.ops if op.kind is OpKind.BATCH_NORM]
    folded = 3 * sum(graph.tensors[op.outputs[0]].shape[-1] for op in norms)
    left = count_params(graph).total - unused_classes - folded
    assert left == 4_311_637
    assert left == pytest.approx(4.3e6, rel=0.003)


def test_macs_of_mobilenet_v1_follow_the_papers_formula() -> None:
    """Section 3.1: a block costs D² (9 M + M N) for D×D output, M input and N output channels."""
    alpha, side = 0.5, 160
    filters = (64, 128, 128, 256, 256, 512, *(512,) * 5, 1024, 1024)
    strides = (1, 2, 1, 2, 1, 2, *(1,) * 5, 2, 1)
    size, inputs = side // 2, int(32 * alpha)
    macs = size**2 * 27 * inputs
    for width, stride in zip(filters, strides, strict=True):
        size, outputs = size // stride, int(width * alpha)
        macs += size**2 * (9 * inputs + inputs * outputs)
        inputs = outputs
    macs += inputs * 1000
    assert count_macs(build_graph("mobilenet_v1", alpha=alpha, input_size=side)).total == macs
