"""Estimates against files that were really converted and quantized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize(("name", "alpha", "side"), [("mobilenet_v3_small", 0.35, 64)])
def test_estimate_is_close_to_a_real_file(
    name: str, alpha: float, side: int, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_quantizer")
    from edgevision.converters.convert import convert
    from edgevision.graph.reader import read_graph
    from edgevision.models.build import build_file
    from edgevision.quantization.quantize import quantize

    rng = np.random.default_rng(0)
    for index in range(8):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    choices = {"alpha": alpha, "input_size": (side, side), "num_classes": 10}
    build_file(name, tmp_path / "m.keras", **choices)
    convert(tmp_path / "m.keras", tmp_path / "m.tflite")
    steps = ("no_ops", "hard_swish", "constant_arithmetic")
    quantize(tmp_path / "m.tflite", tmp_path / "q.tflite", calibration=tmp_path, steps=steps)
    real = read_graph(tmp_path / "q.tflite")
    estimated = estimate_int8(build_graph(name, **choices))
    assert estimated.file_bytes == pytest.approx(real.file_bytes, rel=0.04)
    assert estimated.ram_bytes == measure_memory(real)[0]
