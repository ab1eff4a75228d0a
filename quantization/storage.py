"""How a repaired layer is stored: integers, biases in steps of input × weight, and their scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import replace_constants, set_quantization
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.bias import store_bias
from edgevision.quantization.layers import Layer, get_activations, get_bias, restore_weights

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """Changes to a quantized model.

    Attributes:
        constants: New values by tensor index.
        scales: New scales by tensor index, only where they changed.
    """

    constants: Mapping[int, Array] = field(default_factory=dict)
    scales: Mapping[int, Array] = field(default_factory=dict)

    def joined_with(self, other: Stored) -> Stored:
        """Return both together."""
        return Stored(
            constants={**self.constants, **other.constants}, scales={**self.scales, **other.scales}
        )

    def write(self, model: bytes) -> bytes:
        """Return the model with the changes."""
        if self.constants:
            model = replace_constants(model, self.constants)
        if not self.scales:
            return model
        tensors = read_tflite(model).tensors
        changed = {}
        for index, scales in self.scales.items():
            if (old := tensors[index].quantization) is not None:
                changed[index] = replace(old, scales=tuple(scales.tolist()))
        return set_quantization(model, changed)


def store_layer(graph: Graph, layer: Layer) -> Stored:
    """Bring a layer into the form of the file.

    Args:
        graph: The quantized network.
        layer: One of its layers, repaired.
    """
    op = layer.op
    constants = {op.inputs[1]: restore_weights(layer, graph).astype(np.int8)}
    weights = graph.tensors[op.inputs[1]].quantization
    steps = layer.scales.ravel()[: len(weights.scales) if weights else 0].astype(np.float32)
    before = np.array(weights.scales if weights else (), np.float32)
    changed = not np.array_equal(steps, before)
    scales = {op.inputs[1]: steps} if changed else {}
    bias = get_bias(graph, op)
    if bias is not None and bias.dtype == "float32":
        constants[bias.index] = layer.bias.reshape(bias.shape).astype(np.float32)
    elif bias is not None:
        quantization = get_activations(graph, op)[0].quantization
        source = quantization.scales[0] if quantization else 1.0
        bias_steps = layer.scales.astype(np.float32) * np.float64(source)
        stored = store_bias(layer.bias, bias_steps, bias.dtype)
        constants[bias.index] = stored.reshape(bias.shape)
        if changed and bias.quantization is not None:
            kept = len(bias.quantization.scales)
            scales[bias.index] = bias_steps.ravel()[:kept].astype(np.float32)
    return Stored(constants=constants, scales=scales)
