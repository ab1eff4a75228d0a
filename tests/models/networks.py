"""What several tests of the zoo need: tiny networks with weights that mean something."""

from __future__ import annotations

from typing import Any

import numpy as np


def randomize(model: Any, *, seed: int = 0) -> None:
    """Give every weight, BatchNorm statistics included, a value that matters."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([_draw(rng, w) for w in layer.weights])


def _draw(rng: np.random.Generator, weight: Any) -> np.ndarray[Any, Any]:
    shape = tuple(weight.shape)
    if len(shape) > 1:
        # Depthwise kernels sum over their window, all others over window and channels.
        fan_in = np.prod(shape[:2]) if shape[-1] == 1 else np.prod(shape[:-1])
        return rng.normal(0, np.sqrt(2 / fan_in), shape)
    if weight.path.endswith(("gamma", "moving_variance")):
        return rng.uniform(0.7, 1.4, shape)
    return rng.normal(0, 0.2, shape)


def draw_images(shape: tuple[int, ...], *, seed: int = 1) -> np.ndarray[Any, Any]:
    """Return images in [-1, 1], float32."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
