"""Float networks put together layer by layer, for tests of quantization; no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor, create_empty_model

Array = np.ndarray[Any, Any]

SAME, VALID = 0, 1
NONE, RELU, RELU6 = 0, 1, 3


class NetworkSketch:
    """Collects layers of stride 1; every method returns the tensor that it writes.

    Args:
        size: Height and width of the image.
        channels: Of the image.
    """

    def __init__(self, size: int = 8, channels: int = 3) -> None:
        self._editor = ModelEditor(create_empty_model())
        self._shapes: dict[int, tuple[int, ...]] = {}
        self.image = self._add("image", (1, size, size, channels))

    def conv(
        self, x: int, weights: Array, bias: Array | float = 0.0, *, name: str, relu: int = NONE
    ) -> int:
        """Convolve with weights (O, kernel, kernel, I), padded."""
        output = self._add(name, (*self._shapes[x][:3], weights.shape[0]))
        options = {"padding": SAME, "strideH": 1, "strideW": 1, "fusedActivationFunction": relu}
        return self._write(
            "CONV_2D", (x, output), weights, bias, settings=("Conv2DOptions", options)
        )

    def depthwise(
        self, x: int, weights: Array, bias: Array | float = 0.0, *, name: str, relu: int = NONE
    ) -> int:
        """Convolve channel by channel with weights (1, kernel, kernel, C), padded."""
        output = self._add(name, self._shapes[x])
        options = {
            **{"padding": SAME, "strideH": 1, "strideW": 1, "depthMultiplier": 1},
            "fusedActivationFunction": relu,
        }
        settings = ("DepthwiseConv2DOptions", options)
        return self._write("DEPTHWISE_CONV_2D", (x, output), weights, bias, settings=settings)

    def dense(self, x: int, weights: Array, bias: Array | float = 0.0, *, name: str) -> int:
        """Multiply (1, I) with weights (O, I)."""
        output = self._add(name, (1, weights.shape[0]))
        settings = ("FullyConnectedOptions", dict[str, Any]())
        return self._write("FULLY_CONNECTED", (x, output), weights, bias, settings=settings)

    def map(self, op: str, x: int, *, name: str) -> int:
        """Apply a function to each value: RELU, LOGISTIC, HARD_SWISH …"""
        output = self._add(name, self._shapes[x])
        options = ("SoftmaxOptions", {"beta": 1.0}) if op == "SOFTMAX" else None
        self._editor.add_op(op, [x], [output], options=options)
        return output

    def join(self, op: str, x: int, y: int, *, name: str) -> int:
        """Add or multiply two tensors, the second one possibly spread out."""
        output = self._add(name, self._shapes[x])
        options = ("AddOptions" if op == "ADD" else "MulOptions", {"fusedActivationFunction": NONE})
        self._editor.add_op(op, [x, y], [output], options=options)
        return output

    def concat(self, parts: Sequence[int], *, name: str) -> int:
        """Put channels behind each other."""
        channels = sum(self._shapes[x][-1] for x in parts)
        output = self._add(name, (*self._shapes[parts[0]][:-1], channels))
        options = {"axis": 3, "fusedActivationFunction": NONE}
        self._editor.add_op(
            "CONCATENATION", parts, [output], options=("ConcatenationOptions", options)
        )
        return output

    def split(self, x: int, *, names: Sequence[str]) -> list[int]:
        """Cut the channels into equal parts."""
        shape = self._shapes[x]
        parts = [self._add(name, (*shape[:-1], shape[-1] // len(names))) for name in names]
        axis = self._editor.add_tensor(f"{names[0]}/axis", data=np.array(3, np.int32))
        options = ("SplitOptions", {"numSplits": len(names)})
        self._editor.add_op("SPLIT", [axis, x], parts, options=options)
        return parts

    def average(self, x: int, *, name: str) -> int:
        """Pool the whole image, (1, 1, 1, C)."""
        shape = self._shapes[x]
        output = self._add(name, (1, 1, 1, shape[-1]))
        options = {
            **{"padding": VALID, "strideH": 1, "strideW": 1, "filterHeight": shape[1]},
            **{"filterWidth": shape[2], "fusedActivationFunction": NONE},
        }
        self._editor.add_op("AVERAGE_POOL_2D", [x], [output], options=("Pool2DOptions", options))
        return output

    def mean(self, x: int, *, name: str) -> int:
        """Average the whole image, (1, C)."""
        output = self._add(name, (1, self._shapes[x][-1]))
        axes = self._editor.add_tensor(f"{name}/axes", data=np.array([1, 2], np.int32))
        options = ("ReducerOptions", {"keepDims": False})
        self._editor.add_op("MEAN", [x, axes], [output], options=options)
        return output

    def finish(self, *outputs: int) -> bytes:
        """Return the file."""
        self._editor.set_inputs([self.image])
        self._editor.set_outputs(list(outputs))
        return self._editor.to_bytes()

    def _add(self, name: str, shape: tuple[int, ...]) -> int:
        tensor = self._editor.add_tensor(name, shape=shape)
        self._shapes[tensor] = shape
        return tensor

    def _write(
        self, op: str, ends: tuple[int, int], weights: Array, bias: Array | float, *, settings: Any
    ) -> int:
        x, output = ends
        name = f"weights_{output}"
        kernel = self._editor.add_tensor(name, data=np.asarray(weights, np.float32))
        size = self._shapes[output][-1]
        values = np.broadcast_to(np.asarray(bias, np.float32), (size,)).copy()
        stored = self._editor.add_tensor(f"bias_{output}", data=values)
        self._editor.add_op(op, [x, kernel, stored], [output], options=settings)
        return output


def draw_weights(*shape: int, seed: int = 0) -> Array:
    """Draw weights that keep the size of what they are multiplied with."""
    inputs = int(np.prod(shape[1:])) if shape[0] > 1 else int(np.prod(shape[1:3]))
    return np.random.default_rng(seed).normal(0, 1 / np.sqrt(inputs), shape).astype(np.float32)


def draw_images(count: int = 12, size: int = 8, channels: int = 3, seed: int = 0) -> Array:
    """Draw (N, 1, size, size, channels) float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, 1, size, size, channels)).astype(np.float32)
