from __future__ import annotations

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import collect_ranges
from edgevision.quantization.ranges.histogram import (
    BINS,
    collect_histograms,
    count_values,
    merge_histograms,
)


def test_values_beyond_the_extremes_fall_into_the_outer_bins() -> None:
    seen = count_values(np.float32([-9, -1, 0, 0, 0.5, 9]), -1.0, 1.0, bins=4)
    assert seen.counts.tolist() == [2, 0, 0, 2]
    assert seen.num_zeros == 2
    assert seen.centres.tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_merging_adds_up() -> None:
    values = np.random.default_rng(0).normal(size=300)
    low, high = float(values.min()), float(values.max())
    parts = [count_values(part, low, high) for part in np.split(values, 3)]
    whole = count_values(values, low, high)
    assert np.array_equal(merge_histograms(parts).counts, whole.counts)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_value_of_every_image_is_counted(threads: int) -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (40, 1, 8, 8, 3)).astype(np.float32)
    ranges = collect_ranges(model, graph, iter(images))
    bounds = {tensor: seen.bounds() for tensor, seen in ranges.items()}
    found = collect_histograms(model, graph, images, bounds=bounds, threads=threads)
    assert set(found) == set(ranges)
    for tensor, seen in found.items():
        assert seen.counts.sum() + seen.num_zeros == 40 * graph.tensors[tensor].size
        assert len(seen.counts) == BINS
    pixels = found[graph.inputs[0]]
    assert np.array_equal(pixels.counts, count_values(images, *bounds[graph.inputs[0]]).counts)


def test_tensors_without_a_width_are_left_out() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    images = np.zeros((2, 1, 8, 8, 3), np.float32)
    bounds = {graph.inputs[0]: (0.0, 0.0)}
    assert collect_histograms(model, graph, images, bounds=bounds) == {}


def test_of_large_tensors_a_part_is_counted() -> None:
    model = build_classifier(size=96)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 1, 96, 96, 3)).astype(np.float32)
    found = collect_histograms(model, graph, images, bounds={graph.inputs[0]: (-1.0, 1.0)})
    counted = found[graph.inputs[0]].counts.sum()
    assert 2 * 8192 <= counted <= 2 * 8192 * 1.25
