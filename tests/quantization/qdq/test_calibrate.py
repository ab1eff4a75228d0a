from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_onnx

from edgevision.errors import CalibrationError
from edgevision.quantization.qdq.calibrate import calibrate_onnx, find_watched
from edgevision.quantization.qdq.engine import normalize_onnx
from edgevision.quantization.qdq.network import open_network


def test_extremes_of_every_channel_and_image() -> None:
    network = open_network(normalize_onnx(tiny_onnx.build_detector(), shown="tiny"))
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, 1, 16, 16, 3)).astype(np.float32)

    seen = calibrate_onnx(network, list(images))

    graph = network.graph
    assert list(seen.ranges) == find_watched(graph)
    values = dict(zip(seen.ranges, network.run(images, list(seen.ranges)), strict=True))
    for place, (tensor, found) in enumerate(seen.ranges.items()):
        held = values[tensor]
        axes = tuple(range(held.ndim - 1))
        np.testing.assert_allclose(found.low, held.min(axis=axes), atol=1e-5)
        np.testing.assert_allclose(found.high, held.max(axis=axes), atol=1e-5)
        rows = held.reshape(4, -1)
        np.testing.assert_allclose(seen.lows[:, place], rows.min(axis=1), atol=1e-5)
        np.testing.assert_allclose(seen.highs[:, place], rows.max(axis=1), atol=1e-5)
    names = {graph.tensors[t].name for t in seen.ranges}
    assert "relu_0" in names
    assert "stem" not in names  # what the activation behind it reads


def test_not_a_number_is_named_and_no_image_refused() -> None:
    model: Any = tiny_onnx.build_segmenter()
    network = open_network(normalize_onnx(model, shown="tiny"))
    with pytest.raises(CalibrationError, match="at least one image"):
        calibrate_onnx(network, [])
    broken = np.full((1, 3, 8, 8), np.nan, np.float32)
    with pytest.raises(CalibrationError, match=r"NaN or infinite.*layer r0"):
        calibrate_onnx(network, [broken])
