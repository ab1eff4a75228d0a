"""Tiny networks that are put together for one rewrite each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.network import Network

SHAPE = (1, 8, 8, 4)
IMAGES = np.random.default_rng(5).normal(0, 3, (5, *SHAPE)).astype(np.float32)


class Sketch:
    """Adds operations one behind the other; all feature maps have the same shape."""

    def __init__(self, seed: int = 0) -> None:
        self.editor = ModelEditor(create_empty_model())
        self.rng = np.random.default_rng(seed)
        self.image = self.editor.add_tensor("image", shape=SHAPE)
        self.count = 0

    def constant(self, values: Any) -> int:
        self.count += 1
        return self.editor.add_tensor(f"c{self.count}", data=np.asarray(values, np.float32))

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        options: tuple[str, Mapping[str, Any]] | None = None,
        shape: Sequence[int] = SHAPE,
    ) -> int:
        self.count += 1
        output = self.editor.add_tensor(f"t{self.count}", shape=shape)
        self.editor.add_op(name, inputs, [output], options=options)
        return output

    def conv(self, source: int, *, activation: int = 0, bias: int | None = None) -> int:
        weights = self.constant(self.rng.normal(0, 0.4, (4, 3, 3, 4)))
        bias = self.constant(self.rng.normal(0, 0.4, 4)) if bias is None else bias
        fields = {"padding": 0, "strideH": 1, "strideW": 1}
        fields |= {"dilationHFactor": 1, "dilationWFactor": 1}
        fields["fusedActivationFunction"] = activation
        return self.op("CONV_2D", [source, weights, bias], ("Conv2DOptions", fields))

    def mean(self, source: int) -> int:
        axes = self.editor.add_tensor("axes", data=np.array([1, 2], np.int32))
        return self.op("MEAN", [source, axes], ("ReducerOptions", {"keepDims": True}), (1, 1, 1, 4))

    def close(self, *outputs: int) -> Network:
        self.editor.set_inputs([self.image])
        self.editor.set_outputs(outputs)
        model = self.editor.to_bytes()
        return Network(model=model, graph=read_tflite(model))


def list_names(network: Network) -> list[str]:
    return [op.name for op in network.graph.ops]


def measure_difference(before: Network, after: Network) -> float:
    """Return the largest difference of the outputs, relative to the largest of them."""
    pairs = zip(run_network(before.model, IMAGES), run_network(after.model, IMAGES), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
