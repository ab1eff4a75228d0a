from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_folded import build_network, draw_layers, name_arrays, write_keras

from edgevision.errors import InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.data_free.pipeline import choose_steps_without_images, follow_ranges
from edgevision.quantization.data_free.spread import spread_normal
from edgevision.quantization.quantize import quantize
from edgevision.quantization.steps import Step
from edgevision.specs import Scheme

LAYERS = draw_layers()
PIXELS = np.random.default_rng(5).normal(-0.1, 0.5, (32, 1, 8, 8, 3))
IMAGES = np.clip(PIXELS, -1, 1).astype(np.float32)
CONTRACT: dict[str, Any] = {"mean": (127.5,), "std": (127.5,)}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    model = tmp_path / "float.tflite"
    model.write_bytes(build_network(LAYERS))
    return model, write_keras(tmp_path / "model.h5", name_arrays(LAYERS))


@pytest.mark.parametrize("scheme", [Scheme.INT8, Scheme.INT8_PER_TENSOR])
def test_no_image_is_needed(pair: tuple[Path, Path], tmp_path: Path, scheme: Scheme) -> None:
    model, keras = pair
    output = tmp_path / "int8.tflite"
    result = quantize(model, output, batch_norm=keras, scheme=scheme, **CONTRACT)
    assert result.num_images == 0
    repairs = [repair.step for repair in result.repairs]
    assert {"rounding", "bias_correction"} <= set(repairs)
    data = output.read_bytes()
    assert read_tflite(data).tensors[read_tflite(data).inputs[0]].dtype == "int8"
    expected, answers = (run_network(m, IMAGES)[0] for m in (model.read_bytes(), data))
    assert np.abs(answers - expected).max() < 0.05


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scheme": "dynamic"}, "serves int8"),
        ({"steps": ["compensation"]}, "needs images"),
        ({"ranges": "mse"}, "is for images"),
        ({"calibration": "photos"}, "not from both"),
    ],
)
def test_options_for_images_are_refused(
    pair: tuple[Path, Path], tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    output = tmp_path / "int8.tflite"
    with pytest.raises(InvalidConfigError, match=told):
        quantize(pair[0], output, batch_norm=pair[1], **options, **CONTRACT)
    assert not output.exists()


def test_a_network_may_be_rewritten(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pair[0].write_bytes(build_network(LAYERS, function="HARD_SWISH"))
    output = tmp_path / "int8.tflite"
    steps = ["hard_swish", "bias_correction"]
    result = quantize(pair[0], output, batch_norm=pair[1], steps=steps, **CONTRACT)
    assert "hard_swish" in [repair.step for repair in result.repairs]
    expected, answers = (run_network(f.read_bytes(), IMAGES)[0] for f in (pair[0], output))
    assert np.abs(answers - expected).max() < 0.05


def test_another_model_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    others = [*LAYERS[:2], LAYERS[2].__class__(**{**vars(LAYERS[2]), "kernel": LAYERS[2].weights})]
    keras = write_keras(tmp_path / "other.h5", name_arrays(others))
    with pytest.raises(InvalidModelError, match="pointwise"):
        quantize(pair[0], tmp_path / "int8.tflite", batch_norm=keras, **CONTRACT)


def test_what_can_not_be_told_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    pair[0].write_bytes(build_network(LAYERS, function="EXP"))
    with pytest.raises(UnsupportedOpError, match="EXP"):
        quantize(pair[0], tmp_path / "int8.tflite", batch_norm=pair[1], **CONTRACT)


def test_spreads_follow_scaled_channels() -> None:
    before = {3: ChannelRange(low=np.array([0.0, 0.0]), high=np.array([1.0, 0.0]))}
    after = {3: ChannelRange(low=np.array([0.0, 0.0]), high=np.array([4.0, 0.0]))}
    spread = spread_normal(np.ones(2), np.ones(2))
    scaled = follow_ranges({3: spread}, before, after)[3]
    assert scaled.mean.tolist() == [4, 1]
    assert scaled.std.tolist() == [4, 1]


def test_steps_left_out_leave_those_that_need_images_out_too() -> None:
    chosen = choose_steps_without_images(Scheme.INT8, ["-rounding"])
    default = choose_steps_without_images(Scheme.INT8, None)
    assert set(default) - set(chosen) == {Step.ROUNDING}


def test_spreads_follow_shifted_ranges() -> None:
    before = {3: ChannelRange(low=np.array([2.0, 5.0]), high=np.array([4.0, 5.0]))}
    after = {3: ChannelRange(low=np.array([-2.0, 0.0]), high=np.array([2.0, 0.0]))}
    spread = spread_normal(np.array([3.5, 5.0]), np.array([0.5, 0.0]))
    moved = follow_ranges({3: spread}, before, after)[3]
    assert moved.mean.tolist() == [1, 0]
    assert moved.std.tolist() == [1, 0]
