"""What must hold with every interpreter; ``scripts/check_tflite_runtime`` runs it with the older.

Needs no package but those of a device, and models that are committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import edgevision as ev
from edgevision.errors import InvalidModelError
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.sessions import open_session

MODELS = Path(__file__).parent / "models"


def test_expected_interpreter_is_used(float_model):
    expected = os.environ.get("EDGEVISION_TEST_INTERPRETER")
    if not expected:
        pytest.skip("EDGEVISION_TEST_INTERPRETER is not set: any interpreter will do")
    assert open_session(float_model).backend.startswith(expected)


def convolve(image, kernels, stride):
    """Slide (N, 3, 3, C) kernels over (H, W, C), H and W even or stride 1, padded as SAME does."""
    before = 1 if stride == 1 else 0
    padded = np.pad(image, ((before, 1), (before, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    return np.einsum("yxcij,nijc->yxn", windows[::stride, ::stride], kernels)


def compute_scores(image, weights):
    """Follow the stored float model: convolution, depthwise convolution, mean, dense, softmax."""
    x = image / 127.5 - 1
    x = np.clip(convolve(x, weights["conv/kernel"], 2) + weights["conv/bias"], 0, 6)
    depthwise = np.eye(4)[:, None, None, :] * weights["depthwise/kernel"]
    x = convolve(x, depthwise, 1) + weights["depthwise/bias"]
    logits = weights["dense/kernel"] @ x.mean(axis=(0, 1)) + weights["dense/bias"]
    return np.exp(logits) / np.exp(logits).sum()


def test_float_answers_follow_the_arithmetic(float_model):
    image = np.random.default_rng(2).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    weights = {t.name: t.data for t in read_tflite(float_model).constants}
    expected = compute_scores(image, weights)
    np.testing.assert_allclose(ev.load(float_model).scores(image), expected, atol=1e-5)


def test_int8_answers_follow_the_arithmetic(int8_model):
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    classifier = ev.load(int8_model, scores="probabilities")
    constants = {t.name: t.data for t in read_tflite(int8_model).constants}
    real = (image.reshape(-1) / 255 * 2 - 1) @ (constants["weights"].T / 100)
    expected = np.clip(real, (-128 - 5) / 64, (127 - 5) / 64)
    np.testing.assert_allclose(classifier.scores(image), expected, atol=1 / 64)


def test_labels_and_names_come_from_the_file(float_model):
    classifier = ev.load(float_model)
    assert classifier.labels == ("circle", "square", "star", "cross")
    assert classifier.session.outputs[0].name == "scores"


def test_boxes_of_the_operation_and_of_raw_heads_agree():
    image = np.random.default_rng(3).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    suppressed, raw = (
        ev.load(MODELS / name).predict(image, threshold=0)
        for name in ("boxes.tflite", "heads.tflite")
    )
    assert len(raw) == len(suppressed) > 0
    assert raw.labels == suppressed.labels
    assert set(raw.labels) <= {"circle", "square"}
    np.testing.assert_allclose(raw.scores, suppressed.scores, atol=1e-5)
    np.testing.assert_allclose(raw.boxes, suppressed.boxes, atol=1e-2)


def test_masks_have_the_size_of_the_image():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :, 0], image[4:, :4, 1], image[4:, 4:, 2] = 255, 255, 255
    answer = ev.load(MODELS / "masks.tflite").predict(image)
    expected = np.zeros((8, 8), int)
    expected[4:, :4], expected[4:, 4:] = 1, 2
    np.testing.assert_array_equal(answer.mask, expected)
    assert [(a.label, a.pixels) for a in answer.areas] == [("red", 32), ("green", 16), ("blue", 16)]


def test_placement_covers_the_file(float_model, int8_model):
    for path in (float_model, int8_model):
        placement = open_session(path).placement()
        assert placement.total_ops == len(read_tflite(path).ops)
        assert 0 <= placement.delegated_ops <= placement.total_ops


def test_image_files_are_read(float_model, tmp_path):
    from PIL import Image

    Image.new("L", (30, 20), 99).save(tmp_path / "gray.png")
    assert len(ev.load(float_model).predict(tmp_path / "gray.png", top_k=2)) == 2


def test_damaged_files_are_refused(float_model, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(float_model.read_bytes()[:1000])
    with pytest.raises(InvalidModelError):
        open_session(path)
