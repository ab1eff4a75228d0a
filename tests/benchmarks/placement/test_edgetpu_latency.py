from __future__ import annotations

from pathlib import Path

import pytest
from tiny_graphs import GraphSketch

from edgevision.benchmarks.placement.edgetpu_latency import (
    CACHE_MB,
    COEFFICIENTS,
    HIGHEST,
    LOWEST,
    estimate_latency,
    measure_load,
)
from edgevision.benchmarks.placement.explain import explain
from edgevision.errors import UnsupportedOpError
from edgevision.graph.ops import OpKind
from edgevision.graph.reader import read_graph
from edgevision.models.registry import build_graph


def test_load_of_a_classifier() -> None:
    load, host_ms = measure_load(build_graph("mobilenet_v1"), cache_mb=4.0)
    assert load.giga_macs == pytest.approx(0.56874, rel=1e-4)
    # 4,253,864 parameters less four per channel of batch normalization, which is folded away;
    # its 10,944 channels have no biases of their own in a network of shapes.
    assert load.streamed_mb == pytest.approx((4_253_864 - 4 * 10_944) / 1e6 - 4.0)
    assert load.hundred_ops == pytest.approx(0.29, abs=0.01)
    assert (load.detections, host_ms) == (0, 0)


def test_estimate_is_the_sum_of_its_parts() -> None:
    graph = build_graph("mobilenet_v2")
    load, host_ms = measure_load(graph, cache_mb=CACHE_MB)
    expected = (
        load.giga_macs * COEFFICIENTS.giga_macs
        + load.streamed_mb * COEFFICIENTS.streamed_mb
        + load.hundred_ops * COEFFICIENTS.hundred_ops
        + load.moved_mb * COEFFICIENTS.moved_mb
    )
    estimate = estimate_latency(graph)
    assert host_ms == 0
    assert estimate.value_ms == pytest.approx(expected)
    assert estimate.low_ms == pytest.approx(LOWEST * expected)
    assert estimate.high_ms == pytest.approx(HIGHEST * expected)


def test_published_latency_lies_in_the_range() -> None:
    """2.4 ms, from the table that the coefficients are fitted to."""
    estimate = estimate_latency(build_graph("mobilenet_v1"))
    assert estimate.low_ms < 2.4 < estimate.high_ms


def test_detectors_pay_for_their_suppression() -> None:
    load, _ = measure_load(build_graph("ssd_mobilenet_v1"), cache_mb=CACHE_MB)
    assert load.detections == 1


def test_large_enlargements_are_work_of_the_host() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 4, 4, 8), sketch.tensor(1, 64, 64, 8)
    sketch.op(OpKind.RESIZE, [x], [y], "RESIZE_BILINEAR")
    load, host_ms = measure_load(sketch.graph([x], [y]), cache_mb=CACHE_MB)
    assert (load.hundred_ops, load.moved_mb) == (0, 0)
    assert host_ms == pytest.approx(64 * 64 * 8 * 1.3e-6)


def test_compiled_file_is_refused() -> None:
    sketch = GraphSketch()
    x, y = sketch.tensor(1, 4, dtype="int8"), sketch.tensor(1, 4, dtype="int8")
    sketch.op(OpKind.CUSTOM, [x], [y], "CUSTOM:edgetpu-custom-op")
    with pytest.raises(UnsupportedOpError, match="compiled"):
        estimate_latency(sketch.graph([x], [y]))


def test_float_file_gets_no_estimate(tiny_tflite: Path) -> None:
    assert explain(tiny_tflite, device="edgetpu").to_dict()["estimate_ms"] is None


def test_quantized_file_gets_one(real_data: Path) -> None:
    path = real_data / "edgetpu_pairs/mobilenet_v1_0.25_128_quant.tflite"
    document = explain(path, device="edgetpu").to_dict()
    expected = estimate_latency(read_graph(path))
    assert document["estimate_ms"]["value_ms"] == pytest.approx(expected.value_ms)
    assert document["notes"][-1].startswith("estimated ")
