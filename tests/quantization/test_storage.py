from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgevision.graph.tflite import read_tflite
from edgevision.quantization.layers import build_layer, find_layers, get_bias
from edgevision.quantization.moments import Moments
from edgevision.quantization.quantize import quantize
from edgevision.quantization.storage import Stored, store_layer


@pytest.mark.parametrize("scheme", ["int8", "int8-per-tensor", "dynamic"])
def test_scales_and_biases_change_together(
    scheme: str, float_file: Path, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "q.tflite"
    quantize(float_file, output, calibration=photos, scheme=scheme, steps=[])
    graphs = (read_tflite(float_file), read_tflite(output))
    ops = (find_layers(graphs[0])[0], find_layers(graphs[1])[0])
    nothing = np.zeros((1, 27, 27))
    moments = Moments(
        mean_float=np.zeros((1, 27)),
        mean_quantized=np.zeros((1, 27)),
        covariance=nothing,
        cross=nothing,
        num_rows=1,
    )
    layer = build_layer(graphs, ops, moments)
    assert store_layer(graphs[1], layer).scales == {}
    stored = store_layer(graphs[1], replace(layer, scales=layer.scales * 2))
    changed = read_tflite(stored.write(output.read_bytes()))
    for index in stored.scales:
        before, after = (g.tensors[index].quantization for g in (graphs[1], changed))
        assert before is not None
        assert after is not None
        assert np.allclose(after.scales, 2 * np.array(before.scales))
    bias = get_bias(graphs[1], ops[1])
    assert bias is not None
    assert (bias.index in stored.scales) == (scheme != "dynamic")


def test_together() -> None:
    one, two = np.zeros(1), np.ones(1)
    joined = Stored(constants={1: one}).joined_with(Stored(constants={2: two}, scales={2: two}))
    assert set(joined.constants) == {1, 2}
    assert set(joined.scales) == {2}
    assert Stored().write(b"as it is") == b"as it is"
