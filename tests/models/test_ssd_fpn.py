from __future__ import annotations

from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.models.registry import build_graph

NAME = "ssd_mobilenet_v2_fpnlite"
CLASSES = 90
VALUES = 6 * (4 + CLASSES + 1)


def test_the_head_costs_what_arithmetic_says() -> None:
    separable = 9 * 128 + 128 * 128
    sides = (40, 20, 10, 5, 3)
    laterals = (32, 96, 1280)
    tower = 4 * (separable + 5 * 4 * 128)
    predictors = 2 * 9 * 128 + 128 * VALUES + VALUES
    pyramid = sum(128 * depth + 128 for depth in laterals) + 4 * (separable + 4 * 128)
    graph = build_graph(NAME, num_classes=CLASSES)
    backbone = build_graph("mobilenet_v2", include_top=False)
    assert count_params(graph).total == count_params(backbone).total + pyramid + tower + predictors

    cells = sum(side**2 for side in sides)
    macs = cells * (4 * separable + 2 * 9 * 128 + 128 * VALUES)
    macs += sum(side**2 * 128 * depth for side, depth in zip(sides, laterals, strict=False))
    macs += (40**2 + 20**2 + 5**2 + 3**2) * separable
    features = build_graph("mobilenet_v2", include_top=False, input_size=320)
    assert count_macs(graph).total == count_macs(features).total + macs


def test_kernels_are_shared_and_norms_are_not() -> None:
    graph = build_graph(NAME, num_classes=3)
    tower = [op for op in graph.ops if op.label.startswith("head_tower_0")]
    convolutions = [op for op in tower if op.kind is OpKind.CONV_2D]
    norms = [op for op in tower if op.kind is OpKind.BATCH_NORM]
    assert len(convolutions) == len(norms) == 5
    assert len({op.inputs[1] for op in convolutions}) == 1
    assert len({op.inputs[1] for op in norms}) == 5


def test_the_tower_keeps_its_depth_and_the_pyramid_follows_alpha() -> None:
    kernels = {t.name: t.shape for t in build_graph(NAME, alpha=0.25).constants}
    assert kernels["head_lateral_5/kernel"] == (1, 1, 1280, 32)
    assert kernels["head_tower_0/kernel"] == (1, 1, 32, 128)
    assert kernels["head_tower_1/kernel"] == (1, 1, 128, 128)
