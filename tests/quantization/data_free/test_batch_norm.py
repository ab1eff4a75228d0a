from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_folded import EPSILON, build_network, draw_layers, name_arrays, write_keras

from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.data_free.batch_norm import match_spreads

LAYERS = draw_layers()
GRAPH = read_tflite(build_network(LAYERS))


def test_layers_are_found_by_their_weights(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "model.h5", name_arrays(LAYERS))
    spreads = match_spreads(GRAPH, path)
    written = [GRAPH.tensors[index].name for index in spreads]
    assert written == ["conv", "depthwise", "pointwise"]
    for spread, layer in zip(spreads.values(), LAYERS, strict=True):
        gamma, beta, _, variance = layer.norm
        std = gamma * np.sqrt(variance / (variance + EPSILON))
        assert np.allclose(spread.mean, beta)
        assert np.allclose(spread.std, std)
        assert np.allclose(spread.high, beta + 6 * std)


def test_a_normalization_may_have_no_gamma(tmp_path: Path) -> None:
    arrays = name_arrays(LAYERS)
    arrays.update({f"norm_{i}": layer.norm[1:] for i, layer in enumerate(LAYERS)})
    path = write_keras(tmp_path / "model.h5", arrays, scale=False)
    with pytest.raises(InvalidModelError, match="no layer with the weights of conv"):
        match_spreads(GRAPH, path)
    for i, layer in enumerate(LAYERS):
        gamma, beta, mean, variance = layer.norm
        kernel = layer.kernel * (gamma if i != 1 else gamma[:, None])
        arrays[f"layer_{i}"] = (kernel,)
        arrays[f"norm_{i}"] = (beta, mean * gamma, variance)
    path = write_keras(tmp_path / "other.h5", arrays, scale=False)
    assert len(match_spreads(GRAPH, path)) == 3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("part", ["gamma", "beta", "kernel"])
def test_another_model_is_refused(tmp_path: Path, place: int, part: str) -> None:
    arrays = name_arrays(LAYERS)
    gamma, beta, *rest = LAYERS[place].norm
    if part == "kernel":
        arrays[f"layer_{place}"] = (LAYERS[place].kernel + 0.1,)
    else:
        changed = (gamma * 1.1, beta) if part == "gamma" else (gamma, beta + 0.1)
        arrays[f"norm_{place}"] = (*changed, *rest)
    path = write_keras(tmp_path / "model.h5", arrays)
    with pytest.raises(InvalidModelError, match=r"is not that of the \.tflite"):
        match_spreads(GRAPH, path)


def test_a_model_without_normalization_is_refused(tmp_path: Path) -> None:
    arrays = {k: v for k, v in name_arrays(LAYERS).items() if "norm" not in k}
    path = write_keras(tmp_path / "model.h5", arrays)
    with pytest.raises(InvalidModelError, match="no batch normalization"):
        match_spreads(GRAPH, path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        match_spreads(GRAPH, tmp_path / "none.keras")
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"nothing")
    with pytest.raises(InvalidModelError):
        match_spreads(GRAPH, broken)


def test_a_channel_that_never_changes_has_no_deviation(tmp_path: Path) -> None:
    arrays = name_arrays(LAYERS)
    layer = LAYERS[0]
    gamma, beta, mean, variance = (v.copy() for v in layer.norm)
    kernel = layer.kernel.copy()
    # The same γ / σ: almost no variance, and ε instead.
    gamma[2] *= np.sqrt(EPSILON / (variance[2] + EPSILON))
    variance[2] = 0
    arrays["norm_0"], arrays["layer_0"] = (gamma, beta, mean, variance), (kernel,)
    spreads = match_spreads(GRAPH, write_keras(tmp_path / "model.h5", arrays))
    first = next(iter(spreads.values()))
    assert first.std[2] == 0
    assert first.low[2] == first.high[2] == pytest.approx(beta[2])
