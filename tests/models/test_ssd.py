from __future__ import annotations

import pytest

from edgevision.graph.graph import Graph
from edgevision.graph.macs import count_macs
from edgevision.graph.params import count_params
from edgevision.models.registry import SPECS, build_graph, default_contract

SSD = tuple(name for name, spec in SPECS.items() if spec.family == "ssd")


def shape_of(graph: Graph, label: str) -> tuple[int, ...]:
    (op,) = [op for op in graph.ops if op.label == label]
    return graph.tensors[op.outputs[0]].shape[1:]


def test_the_head_of_ssd_mobilenet_v1_costs_what_arithmetic_says() -> None:
    classes = 90
    backbone = build_graph("mobilenet_v1", include_top=False)
    # Depth and cells of the maps; the lowest has three anchors in a cell, the others six.
    maps = [(512, 19**2), (1024, 10**2), (512, 5**2), (256, 3**2), (256, 2**2), (128, 1)]
    params = macs = 0
    for number, (depth, cells) in enumerate(maps):
        values = (3 if number == 0 else 6) * (4 + classes + 1)
        params += depth * values + values
        macs += cells * depth * values
        if number < 2:
            continue
        below, below_cells = maps[number - 1]
        params += below * depth // 2 + 9 * depth // 2 * depth + 4 * (depth // 2 + depth)
        macs += below_cells * below * depth // 2 + cells * 9 * depth // 2 * depth
    graph = build_graph("ssd_mobilenet_v1", num_classes=classes)
    assert count_params(graph).total == count_params(backbone).total + params
    head = [macs for i, macs in count_macs(graph).per_op.items() if is_head(graph, i)]
    assert sum(head) == macs


def is_head(graph: Graph, index: int) -> bool:
    return graph.ops[index].label.startswith("head_")


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("ssd_mobilenet_v1", 512),
        ("ssd_mobilenet_v2", 96 * 6),
        ("ssdlite_mobilenet_v2", 96 * 6),
        ("ssdlite_mobilenet_v3_small", 48 * 6),
        ("ssdlite_mobilenet_v3_large", 112 * 6),
    ],
)
def test_the_first_map_is_the_richest_at_stride_16(name: str, depth: int) -> None:
    graph = build_graph(name, input_size=320)
    labels = {op.label: op for op in graph.ops}
    first = labels.get("head_boxes_0_depthwise") or labels["head_boxes_0"]
    assert graph.tensors[first.inputs[0]].shape == (1, 20, 20, depth)


def test_predictors_of_ssdlite_are_separable() -> None:
    graph = build_graph("ssdlite_mobilenet_v2", num_classes=3)
    assert shape_of(graph, "head_scores_1_depthwise") == (10, 10, 1280)
    assert shape_of(graph, "head_scores_1") == (10, 10, 6 * 4)
    plain = build_graph("ssd_mobilenet_v2", num_classes=3)
    kernels = {t.name: t.shape for t in plain.constants}
    assert kernels["head_scores_1/kernel"] == (3, 3, 1280, 6 * 4)


def test_extra_maps_follow_alpha_down_to_16_channels() -> None:
    half = build_graph("ssd_mobilenet_v1", alpha=0.5)
    assert shape_of(half, "head_map_2") == (5, 5, 256)
    tiny = build_graph("ssd_mobilenet_v1", alpha=0.05)
    assert [shape_of(tiny, f"head_map_{n}")[-1] for n in (2, 3, 4, 5)] == [25, 16, 16, 16]
    assert shape_of(tiny, "head_map_5_narrow")[-1] == 16


@pytest.mark.parametrize("name", SSD)
@pytest.mark.parametrize("size", [(64, 48), (65, 33), (97, 130), (300, 300), (320, 192)])
def test_anchors_lie_on_the_maps(name: str, size: tuple[int, int]) -> None:
    graph = build_graph(name, input_size=size, alpha=0.25)
    labels = ("head_boxes", *(f"head_boxes_{n}" for n in range(6)))
    maps = [graph.tensors[op.outputs[0]].shape for op in graph.ops if op.label in labels]
    detection = default_contract(name, input_size=size).detection
    assert detection is not None
    assert [(shape[1:3], shape[3] // 4) for shape in maps] == [
        (grid.size, len(grid.boxes)) for grid in detection.anchors
    ]
