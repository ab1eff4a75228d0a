"""Estimates from shapes; the conformance suite holds them against every network's real file."""

from __future__ import annotations

import pytest

from edgevision.benchmarks.deployed import estimate_int8, is_int8_friendly
from edgevision.benchmarks.memory import measure_memory
from edgevision.models.registry import build_graph


@pytest.mark.parametrize(
    ("name", "friendly"),
    [
        ("mobilenet_v1", True),
        ("mobilenet_v2", True),
        ("mobilenet_v3_small", False),
        ("mobilenet_v3_small_minimalistic", True),
        ("mobilenet_v4_conv_small", True),
        ("ssd_mobilenet_v1", True),
        ("ssdlite_mobilenet_v3_large", False),
        ("unet_mobilenet_v2", True),
    ],
)
def test_int8_friendly(name: str, friendly: bool) -> None:
    assert is_int8_friendly(build_graph(name)) is friendly


def test_memory_is_a_quarter_where_nothing_is_rewritten() -> None:
    graph = build_graph("mobilenet_v1", alpha=0.25, input_size=96, num_classes=2)
    assert estimate_int8(graph).ram_bytes == measure_memory(graph)[0] // 4


def test_weights_take_a_byte_each_and_channels_their_ranges() -> None:
    few = estimate_int8(build_graph("mobilenet_v1", num_classes=10))
    many = estimate_int8(build_graph("mobilenet_v1", num_classes=110))
    # 1,024 weights, a bias of 4 bytes, and two scales and zero points of 12 for each class.
    assert many.file_bytes - few.file_bytes == 100 * (1024 + 4 + 2 * 12)


def test_hard_swish_needs_a_gate_beside_it() -> None:
    graph = build_graph("mobilenet_v3_small", input_size=224)
    # The widest map, 112 x 112 x 16, and its gate and product.
    assert estimate_int8(graph).ram_bytes == 3 * 112 * 112 * 16
    assert measure_memory(graph)[0] == 4 * 2 * 112 * 112 * 16


def test_shared_kernels_are_written_once_unless_each_layer_normalizes_itself() -> None:
    graph = build_graph("ssd_mobilenet_v2_fpnlite", alpha=0.25, input_size=64, num_classes=5)
    layers = [op for op in graph.ops if op.name.endswith(("Conv2D", "Dense"))]
    every = sum(graph.tensors[op.inputs[1]].size for op in layers)
    once = sum(graph.tensors[i].size for i in {op.inputs[1] for op in layers})
    assert once < every
    assert estimate_int8(graph).file_bytes < every + 500_000
