from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.graph.flatbuffer import replace_constants
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.advisor import find_dead_channels, measure_growth
from edgevision.quantization.calibrate import Calibration, calibrate
from edgevision.quantization.quantize import quantize


def record(highs: np.ndarray) -> Calibration:
    return Calibration(ranges={}, lows=np.zeros_like(highs), highs=highs)


def test_halves_that_reach_everything() -> None:
    coverage, growth = measure_growth(record(np.full((10, 3), 2.0)))
    assert coverage == 1
    assert growth.tolist() == [0, 0, 0]


def test_one_image_that_widens_everything() -> None:
    highs = np.ones((20, 2))
    highs[7, 1] = 5  # in one of two halves
    coverage, growth = measure_growth(record(highs))
    assert growth[0] == 0
    share = (1 + 1 / 5) / 2
    assert growth[1] == pytest.approx(1 / share - 1)
    assert coverage == pytest.approx((1 + share) / 2)


def test_one_image_and_silent_tensors() -> None:
    assert measure_growth(record(np.ones((1, 2))))[0] == 1
    assert measure_growth(record(np.zeros((9, 2))))[0] == 1


def test_dead_channels_are_counted_by_layer() -> None:
    model = build_classifier(num_classes=4, size=8, seed=3)
    graph = read_tflite(model)
    kernel = graph.tensors[graph.ops[0].inputs[1]]
    assert kernel.data is not None
    silent = kernel.data.copy()
    silent[:2] = 0
    model = replace_constants(model, {kernel.index: silent})
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 8, 8, 3)).astype(np.float32)
    counts = {x.layer: x.dead for x in find_dead_channels(graph, calibrate(model, graph, images))}
    assert counts == {"convolved": 2, "depthwise": counts["depthwise"], "scores": 0}
    assert find_dead_channels(graph, calibrate(model, graph, images[:1])) == []


def test_the_history_holds_every_image() -> None:
    model = build_classifier(size=8)
    graph = read_tflite(model)
    images = np.random.default_rng(0).uniform(-1, 1, (5, 1, 8, 8, 3)).astype(np.float32)
    seen = calibrate(model, graph, images)
    first = list(seen.ranges).index(graph.inputs[0])
    assert np.array_equal(seen.lows[:, first], images.min(axis=(1, 2, 3, 4)))
    assert np.array_equal(seen.highs[:, first], images.max(axis=(1, 2, 3, 4)))


def test_the_result_tells_of_the_images(float_file: Path, photos: Path, tmp_path: Path) -> None:
    result = quantize(float_file, tmp_path / "o.tflite", calibration=photos)
    told = result.to_dict()["calibration"]
    assert told["images"] == 24
    assert told["near_duplicates"] == 0
    assert 0.5 < told["coverage"] <= 1
    assert 0 <= told["dead_share"] < 1
    assert set(told) == {
        *("images", "near_duplicates", "coverage", "range_growth", "dead_share", "dead_channels"),
        "cached",
    }
    assert result.calibration is not None
    assert result.calibration.warnings == ()
    without = quantize(float_file, tmp_path / "o.tflite", scheme="dynamic")
    assert without.to_dict()["calibration"] is None


def test_copies_are_told(float_file: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    first = min(photos.iterdir())
    for index in range(10):
        shutil.copy(first, folder / f"{index}.png")
    result = quantize(float_file, tmp_path / "o.tflite", calibration=folder)
    assert result.to_dict()["calibration"]["near_duplicates"] == 9
    assert any("9 of 10 calibration images are nearly the same" in t for t in result.warnings)


def test_a_wrong_scale_is_told(float_file: Path, photos: Path, tmp_path: Path) -> None:
    told = []
    for mean, std in ((127.5, 127.5), (0, 1)):
        result = quantize(float_file, tmp_path / "o.tflite", calibration=photos, mean=mean, std=std)
        told.append([text for text in result.warnings if "first layer" in text])
    assert told[0] == []
    assert len(told[1]) == 1
