from __future__ import annotations

import numpy as np
from tiny_models import build_classifier

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.constants import dequantize_tensor, unpack_constants
from edgevision.specs import Quantization


def test_half_weights_become_float_ones_and_answers_stay() -> None:
    model = build_classifier(half=True)
    unpacked = unpack_constants(model)
    graph = read_tflite(unpacked)
    assert "DEQUANTIZE" not in [op.name for op in graph.ops]
    assert {t.dtype for t in graph.constants} == {"float32", "int32"}
    images = np.random.default_rng(0).uniform(-1, 1, (3, 1, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(run_network(model, images)[0], run_network(unpacked, images)[0])


def test_what_is_float_already_stays_as_it_is() -> None:
    model = build_classifier()
    assert unpack_constants(model) is model


def test_scales_may_lie_along_any_axis() -> None:
    quantization = Quantization(scales=(1.0, 10.0), zero_points=(0, 1), axis=1)
    real = dequantize_tensor(np.ones((1, 2), np.int8), quantization)
    assert real.tolist() == [[1.0, 0.0]]
