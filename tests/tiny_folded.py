"""A float network with batch normalizations folded in, and the Keras file it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_networks import RELU, RELU6, NetworkSketch, draw_weights

Array = np.ndarray[Any, Any]

EPSILON = 1e-3


@dataclass(frozen=True)
class Folded:
    """A convolution with its batch normalization, and both in one."""

    kernel: Array
    norm: tuple[Array, Array, Array, Array]
    weights: Array
    bias: Array


def fold(weights: Array, channels: int, *, seed: int, last: bool = False) -> Folded:
    """Draw a normalization for weights as a ``.tflite`` stores them, and fold it in.

    Args:
        weights: (O, height, width, I), or with ``last`` (1, height, width, C).
        channels: Output channels.
        seed: Of the normalization.
        last: Whether channels are the last axis.
    """
    rng = np.random.default_rng(seed)
    gamma, beta = rng.uniform(0.5, 1.5, channels), rng.normal(0.3, 0.5, channels)
    mean, variance = rng.normal(0, 0.1, channels), rng.uniform(0.2, 2, channels)
    factor = gamma / np.sqrt(variance + EPSILON)
    rows = factor if last else factor.reshape(-1, 1, 1, 1)
    norm = tuple(v.astype(np.float32) for v in (gamma, beta, mean, variance))
    return Folded(
        kernel=np.ascontiguousarray(weights.transpose(1, 2, 3, 0)),
        norm=(norm[0], norm[1], norm[2], norm[3]),
        weights=(weights * rows).astype(np.float32),
        bias=(beta - mean * factor).astype(np.float32),
    )


def draw_layers() -> tuple[Folded, Folded, Folded]:
    return (
        fold(draw_weights(8, 3, 3, 3, seed=1), 8, seed=1),
        fold(draw_weights(1, 3, 3, 8, seed=2), 8, seed=2, last=True),
        fold(draw_weights(6, 1, 1, 8, seed=3), 6, seed=3),
    )


def build_network(layers: Sequence[Folded], *, function: str | None = None) -> bytes:
    """Build convolution, depthwise, convolution, mean and a dense layer without normalization."""
    sketch = NetworkSketch()
    x = sketch.conv(sketch.image, layers[0].weights, layers[0].bias, name="conv", relu=RELU6)
    x = sketch.depthwise(x, layers[1].weights, layers[1].bias, name="depthwise", relu=RELU6)
    x = sketch.conv(x, layers[2].weights, layers[2].bias, name="pointwise", relu=RELU)
    if function:
        x = sketch.map(function, x, name="function")
    logits = sketch.dense(sketch.mean(x, name="mean"), dense_weights(), 0.1, name="logits")
    return sketch.finish(sketch.map("SOFTMAX", logits, name="probabilities"))


def dense_weights() -> Array:
    return np.random.default_rng(4).normal(size=(4, 6)).astype(np.float32)


def write_keras(path: Path, layers: Mapping[str, Sequence[Array]], **norm: Any) -> Path:
    """Write the weights of layers as Keras 2 does, with one kind of normalization."""
    h5py = pytest.importorskip("h5py")
    settings = {"epsilon": EPSILON, "scale": True, "center": True, **norm}
    inner = [
        {"class_name": "BatchNormalization" if "norm" in name else "Conv2D", "config": settings}
        for name in layers
    ]
    config = {"class_name": "Functional", "config": {"layers": inner}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            names = [f"{name}/{place}" for place in range(len(arrays))]
            owner = group.create_group(name)
            owner.attrs["weight_names"] = [n.encode() for n in names]
            for weight, array in zip(names, arrays, strict=True):
                owner[weight] = array
    return path


def name_arrays(layers: Sequence[Folded]) -> dict[str, tuple[Array, ...]]:
    """Name the arrays of the network, normalizations first: their order does not matter."""
    named: dict[str, tuple[Array, ...]] = {}
    for place, layer in enumerate(layers):
        named[f"norm_{place}"] = layer.norm
    for place, layer in enumerate(layers):
        named[f"layer_{place}"] = (layer.kernel,)
    named["dense"] = (dense_weights().T, np.full(4, 0.1, np.float32))
    return named
