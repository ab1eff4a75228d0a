from __future__ import annotations

from typing import Any

import pytest

from edgevision.graph.graph import Graph
from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.graph.params import count_params
from edgevision.models.registry import build_feature_graph, build_graph

SMALL, MEDIUM, LARGE = (f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large"))


@pytest.mark.parametrize(
    ("name", "millions", "side", "giga_macs"),
    [
        (SMALL, 3.77, 224, 0.19),
        (MEDIUM, 9.72, 224, 0.84),
        (MEDIUM, 9.72, 256, 1.1),
        (LARGE, 32.59, 224, 2.2),
        (LARGE, 32.59, 256, 2.86),
    ],
)
def test_counts_are_those_of_the_paper_and_of_timm(
    name: str, millions: float, side: int, giga_macs: float
) -> None:
    """Both count trained weights; their MACs take in the normalization, hence the two per cent."""
    graph = build_graph(name, input_size=side)
    trainable = count_params(graph).trainable
    assert trainable is not None
    assert round(trainable / 1e6, 2) == millions
    assert count_macs(graph).total / 1e9 == pytest.approx(giga_macs, rel=0.025)


def test_the_small_network_is_the_papers_table() -> None:
    """Appendix D: kernels, channels and resolution of every row of MNv4-Conv-S."""
    # side of the output, input channels, expanded, output, depthwise kernels before and after
    blocks = [
        (14, 64, 192, 96, (5, 28), (5, 14)),
        *[(14, 96, 192, 96, None, (3, 14))] * 4,
        (14, 96, 384, 96, (3, 14), None),
        (7, 96, 576, 128, (3, 14), (3, 7)),
        (7, 128, 512, 128, (5, 7), (5, 7)),
        (7, 128, 512, 128, None, (5, 7)),
        (7, 128, 384, 128, None, (5, 7)),
        *[(7, 128, 512, 128, None, (3, 7))] * 2,
    ]
    # kernel size, channels that it sums over, output channels, output positions
    layers = [
        (9, 3, 32, 112**2),
        (9, 32, 32, 56**2),
        (1, 32, 32, 56**2),
        (9, 32, 96, 28**2),
        (1, 96, 64, 28**2),
    ]
    for side, inputs, expanded, outputs, outer, inner in blocks:
        before = side * 2 if inputs != outputs else side
        if outer:
            layers.append((outer[0] ** 2, 1, inputs, outer[1] ** 2))
        layers.append((1, inputs, expanded, before**2))
        if inner:
            layers.append((inner[0] ** 2, 1, expanded, inner[1] ** 2))
        layers.append((1, expanded, outputs, side**2))
    layers += [(1, 128, 960, 7**2), (1, 960, 1280, 1)]

    graph = build_graph(SMALL)
    kernels = sum(window * inputs * outputs for window, inputs, outputs, _ in layers)
    norms = sum(outputs for _, _, outputs, _ in layers)
    macs = sum(window * inputs * outputs * places for window, inputs, outputs, places in layers)
    params = count_params(graph)
    assert params.total == kernels + 4 * norms + 1280 * 1000 + 1000
    assert params.trainable == kernels + 2 * norms + 1280 * 1000 + 1000
    assert count_macs(graph).total == macs + 1280 * 1000


@pytest.mark.parametrize("name", [SMALL, MEDIUM, LARGE])
def test_nothing_but_relu_is_activated(name: str) -> None:
    graph = build_graph(name, classifier_activation=None)
    used = {op.attributes["activation"] for op in graph.ops if op.kind is OpKind.ACTIVATION}
    assert used == {"relu"}


@pytest.mark.parametrize(
    ("name", "levels", "expanded"),
    [
        (SMALL, (32, 32, 64, 96, 960), (32, 32, 64 * 3, 96 * 6, 960)),
        (MEDIUM, (32, 48, 80, 160, 960), (32, 48 * 4, 80 * 6, 160 * 6, 960)),
        (LARGE, (24, 48, 96, 192, 960), (24, 48 * 4, 96 * 4, 192 * 4, 960)),
    ],
)
def test_feature_maps(name: str, levels: tuple[int, ...], expanded: tuple[int, ...]) -> None:
    strides = (2, 4, 8, 16, 32)
    for channels, wide in ((levels, False), (expanded, True)):
        graph = build_feature_graph(name, strides=strides, expanded=wide, input_size=(64, 96))
        assert [spec.shape for spec in graph.output_specs()] == [
            (1, 64 // s, 96 // s, c) for s, c in zip(strides, channels, strict=True)
        ]


def test_the_four_forms_of_the_block() -> None:
    labels = {op.label for op in build_graph(MEDIUM).ops}

    def parts(number: int) -> set[str]:
        kinds = ("outer_depthwise", "expand", "depthwise", "project", "add")
        return {kind for kind in kinds if f"block_{number}_{kind}" in labels}

    assert parts(0) == {"expand", "project"}  # fused
    assert parts(3) == {"outer_depthwise", "expand", "depthwise", "project"}  # ExtraDW that steps
    assert parts(4) == {"outer_depthwise", "expand", "depthwise", "project", "add"}  # ExtraDW
    assert parts(8) == {"outer_depthwise", "expand", "project", "add"}  # ConvNext
    assert parts(9) == {"expand", "project", "add"}  # feed-forward
    small = {op.label for op in build_graph(SMALL).ops}
    assert {"block_3_expand", "block_3_depthwise", "block_3_add"} <= small  # inverted bottleneck
    assert "block_3_outer_depthwise" not in small


def test_the_hidden_layer_keeps_its_width_below_alpha_1() -> None:
    def hidden(alpha: float) -> Any:
        return shape_of(build_graph(SMALL, alpha=alpha), "head_conv")[-1]

    assert (hidden(0.35), hidden(1.0), hidden(1.25)) == (1280, 1280, 1600)


def shape_of(graph: Graph, label: str) -> tuple[int, ...]:
    (op,) = [op for op in graph.ops if op.label == label]
    return graph.tensors[op.outputs[0]].shape
