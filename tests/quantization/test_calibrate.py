from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.contract import Preprocessing
from edgevision.errors import CalibrationError
from edgevision.graph.flatbuffer import replace_constants
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import (
    NARROWEST,
    NARROWEST_16_BIT,
    ChannelExtremes,
    calibrate,
    collect_ranges,
    find_input_range,
    widen_range,
)


def test_ranges_are_the_true_extremes() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 8, 8, 3)).astype(np.float32)
    ranges = collect_ranges(model, graph, iter(images))
    seen = ranges[graph.inputs[0]]
    assert np.array_equal(seen.low, images.min(axis=(0, 1, 2, 3)))
    assert np.array_equal(seen.high, images.max(axis=(0, 1, 2, 3)))
    assert set(ranges) == {*graph.inputs, *(op.outputs[0] for op in graph.ops)}
    assert ranges[graph.ops[0].outputs[0]].bounds()[1] <= 6


def test_threads_change_nothing() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (9, 1, 8, 8, 3)).astype(np.float32)
    alone, shared = (calibrate(model, graph, iter(images), threads=n) for n in (1, 3))
    assert np.array_equal(alone.lows, shared.lows)
    assert np.array_equal(alone.highs, shared.highs)
    assert list(alone.ranges) == list(shared.ranges)
    for index, seen in alone.ranges.items():
        assert np.array_equal(seen.low, shared.ranges[index].low)
        assert np.array_equal(seen.high, shared.ranges[index].high)


def test_a_batch_may_be_written_over() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (9, 1, 8, 8, 3)).astype(np.float32)
    buffer = np.empty_like(images[0])

    def reuse() -> Iterator[np.ndarray]:
        for image in images:
            buffer[...] = image
            yield buffer

    reused, separate = (calibrate(model, graph, b, threads=2) for b in (reuse(), iter(images)))
    assert np.array_equal(reused.lows, separate.lows)


def test_a_constant_tensor_has_a_range() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    silent = {
        t: np.zeros(graph.tensors[t].shape, np.float32)
        for t in (*graph.ops[0].inputs[1:], *graph.ops[1].inputs[1:])
    }
    images = np.random.default_rng(0).uniform(-1, 1, (3, 1, 8, 8, 3)).astype(np.float32)
    ranges = collect_ranges(replace_constants(model, silent), graph, images)
    assert ranges[graph.ops[0].outputs[0]].bounds() == (0, 0)
    assert widen_range(*ranges[graph.ops[0].outputs[0]].bounds()) == (0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_without_a_range_name_their_layer(value: float) -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    bias = graph.tensors[graph.ops[1].inputs[2]]
    broken = replace_constants(model, {bias.index: np.full(bias.shape, value, np.float32)})
    images = np.zeros((3, 1, 8, 8, 3), np.float32)
    with pytest.raises(CalibrationError, match="layer depthwise"):
        calibrate(broken, graph, images, threads=2)


def test_no_images() -> None:
    model = build_classifier()
    with pytest.raises(CalibrationError):
        collect_ranges(model, read_tflite(model), [])


@pytest.mark.parametrize("shape", [(1, 7, 7, 3), (1, 8, 8, 5), (1, 10), (), (1, 3, 1, 600)])
def test_extremes_of_channels(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    extremes = ChannelExtremes()
    for values in images:
        extremes.add(0, values)
        assert extremes.take_image() == [(values.min(), values.max())]
    found = extremes.find_ranges()[0]
    flat = images.reshape(-1, shape[-1] if shape else 1)
    assert np.array_equal(found.low, flat.min(axis=0))
    assert np.array_equal(found.high, flat.max(axis=0))


def test_input_codes_never_tie() -> None:
    low, high = find_input_range(Preprocessing(mean=(127.5,), std=(127.5,)))
    scale = (high - low) / 255
    steps = (np.arange(256) / 127.5 - 1) / scale
    assert np.abs(steps - np.floor(steps) - 0.5).min() > 2.0**-10
    assert len(np.unique(np.rint(steps))) == 255
    assert np.rint(steps).min() == -127
    assert np.rint(steps).max() == 127


def test_three_channels_share_the_widest_range() -> None:
    preprocessing = Preprocessing(mean=(0, 10, 20), std=(255, 255, 255))
    low, high = find_input_range(preprocessing)
    assert low <= -20 / 255 * (1 - 0.01)
    assert high >= 255 / 255 * (1 - 0.01)


def test_widen_range() -> None:
    assert widen_range(1.0, 2.0) == (0.0, 2.0)
    assert widen_range(-2.0, -1.0) == (-2.0, 0.0)


def test_six_fits_into_32_bits_of_the_narrowest_range() -> None:
    low, high = widen_range(-1e-12, 3e-12)
    assert high - low == pytest.approx(NARROWEST)
    assert high == pytest.approx(-3 * low)
    assert 6 / ((high - low) / 255) < 2**31
    low, high = widen_range(-1e-12, 1e-12, NARROWEST_16_BIT)
    assert 6 / (high / 32767) < 2**31
