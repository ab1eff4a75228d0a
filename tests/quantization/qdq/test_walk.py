from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_onnx

from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.runs import find_needed, run_onnx, run_part
from edgevision.quantization.qdq.walk import OnnxWalk


@pytest.fixture(scope="module")
def model() -> Any:
    return normalize_onnx(tiny_onnx.build_classifier(), shown="tiny")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (5, 1, 3, 8, 8)).astype(np.float32)


def test_parts_give_what_the_whole_does(model: Any, images: np.ndarray) -> None:
    inner, whole = run_onnx(model, images, ["c1", "scores"])
    assert inner.shape == (5, 1, 4, 4, 4)
    assert whole.shape == (5, 1, 5)
    (rest,) = run_part(model, {"image": images, "c1": inner}, ["scores"])
    np.testing.assert_allclose(rest, whole, rtol=1e-5)
    (moved,) = run_part(model, {"image": images, "c1": inner + 1}, ["scores"])
    assert np.abs(moved - whole).max() > 0.1


def test_what_is_needed_ends_at_what_is_known(model: Any) -> None:
    assert find_needed(model, ["image", "r0"], ["c1"]) >= {"c1", "r0", "w1"}
    assert not {"image", "c0"} & find_needed(model, ["image", "r0"], ["c1"])


def test_a_walk_keeps_what_is_needed_and_nothing_else(model: Any, images: np.ndarray) -> None:
    (expected,) = run_onnx(model, images, ["scores"])
    walk = OnnxWalk(model, images, ["image", "r0", "r0", "c1", "scores"])
    walk.read("r0")
    walk.pass_by(("image", "r0"))
    assert walk.known == {"r0"}
    some = walk.try_reading("c1", slice(0, 2))
    assert len(some) == 2
    assert walk.known == {"r0"}
    walk.read("c1")
    walk.pass_by(("r0", "c1"))
    assert walk.known == {"c1"}
    np.testing.assert_allclose(walk.read("scores"), expected, rtol=1e-5)


def test_a_walk_goes_on_with_what_it_is_given(model: Any, images: np.ndarray) -> None:
    walk = OnnxWalk(model, images, ["c1", "scores"])
    silent = np.zeros((5, 1, 4, 4, 4), np.float32)
    walk.keep("c1", silent)
    bias = run_part(model, {"image": images, "f": np.zeros((5, 1, 4), np.float32)}, ["scores"])[0]
    np.testing.assert_allclose(walk.read("scores"), bias, atol=1e-6)


def test_a_target_may_be_the_end_too(model: Any, images: np.ndarray) -> None:
    walk = OnnxWalk(model, images, ["f", "scores", "scores"])
    before = walk.read("scores")
    walk.pass_by(("f", "scores"))
    assert walk.read("scores") is before
