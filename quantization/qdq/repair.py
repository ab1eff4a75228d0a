"""Repairs a QDQ network layer by layer, beside the float one, with the steps of ``.tflite`` files.

The weights, scales and biases of the QDQ model change in place, one layer after the other, so that
each sees the inputs that the repaired layers before it really give.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.quantization.bias import store_bias
from edgevision.quantization.layers import Layer
from edgevision.quantization.moments import (
    Activation,
    group_weights,
    measure_moments,
    ungroup_weights,
)
from edgevision.quantization.qdq.layers import (
    OnnxLayer,
    count_outputs,
    find_onnx_layers,
    restore_onnx_weights,
    turn_inputs,
    turn_weights,
)
from edgevision.quantization.qdq.runs import run_onnx
from edgevision.quantization.steps import LAYER_STEPS, Step, StepReport, apply_steps
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]


def repair_onnx(
    models: tuple[Any, Any],
    images: Array,
    steps: Sequence[Step],
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> tuple[Any, tuple[StepReport, ...]]:
    """Repair a QDQ network.

    Args:
        models: The float ``ModelProto``, and what the engine made of it.
        images: (N, *input shape) float32.
        steps: Those of ``LAYER_STEPS`` to apply.
        threads: Of the runtime.
        progress: Called after every layer.

    Returns:
        The repaired network, a copy, and what each step did.
    """
    float_model, quantized = models
    repaired = type(quantized)()
    repaired.CopyFrom(quantized)
    chosen = [step for step in LAYER_STEPS if step in steps]
    seconds, count = dict.fromkeys(chosen, 0.0), 0
    layers = find_onnx_layers(float_model) if chosen else []
    for done, layer in enumerate(layers):
        site = _find_site(repaired, layer)
        if site is None:
            continue
        source = turn_inputs(
            layer, run_onnx(float_model, images, site.inputs[:1], threads=threads)[0]
        )
        actual = turn_inputs(layer, run_onnx(repaired, images, site.inputs[1:], threads=threads)[0])
        state = apply_steps(_describe(layer, site, (source, actual)), chosen, seconds)
        site.store(layer, state)
        count += 1
        if progress:
            progress("repairing layers", done + 1, len(layers))
    reports = (StepReport(step=s, layers=count, seconds=t) for s, t in seconds.items())
    return repaired, tuple(reports)


class _Site:
    """Where a layer's constants are in the QDQ model."""

    def __init__(self, model: Any, layer: OnnxLayer, node: Any) -> None:
        self.inputs = (layer.node.input[0], node.input[0])
        self._constants = {t.name: t for t in model.graph.initializer}
        producers = {name: n for n in model.graph.node for name in n.output}
        self._weights: Any = producers.get(node.input[1])
        self._bias: Any = producers.get(node.input[2]) if len(node.input) > 2 else None
        self._source: Any = producers.get(node.input[0])

    @property
    def is_integer(self) -> bool:
        """Whether weights and input are integer and may change."""
        ops = (self._weights, self._source)
        if any(n is None or n.op_type != "DequantizeLinear" for n in ops):
            return False
        return all(name in self._constants for name in self._weights.input[:2])

    def read(self, node: Any, place: int) -> Array:
        """Return a constant of a DequantizeLinear: 0 its values, 1 its scale."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._constants[node.input[place]]))

    def read_weights(self) -> tuple[Array, Array]:
        """Return the stored integers and their scales."""
        return self.read(self._weights, 0), self.read(self._weights, 1)

    def store(self, layer: OnnxLayer, state: Layer) -> None:
        """Write a repaired layer."""
        stored, scales = self.read_weights()
        turned = ungroup_weights(layer.op, state.integers, layer.weights.shape)
        self._write(
            self._weights.input[0], restore_onnx_weights(layer, turned).astype(stored.dtype)
        )
        steps = state.scales.ravel()[: scales.size].reshape(scales.shape).astype(np.float32)
        self._write(self._weights.input[1], steps)
        if self._bias is None or self._bias.op_type != "DequantizeLinear":
            return
        before, bias_scales = self.read(self._bias, 0), self.read(self._bias, 1)
        source = float(self.read(self._source, 1).ravel()[0])
        bias_steps = state.scales.astype(np.float32).astype(np.float64) * source
        values = store_bias(state.bias.ravel(), bias_steps.ravel(), before.dtype)
        self._write(self._bias.input[0], values.reshape(before.shape))
        kept = bias_steps.ravel()[: bias_scales.size].reshape(bias_scales.shape)
        self._write(self._bias.input[1], kept.astype(np.float32))

    def _write(self, name: str, values: Array) -> None:
        from onnx import numpy_helper

        self._constants[name].CopyFrom(numpy_helper.from_array(values, name))


def _find_site(model: Any, layer: OnnxLayer) -> _Site | None:
    """Find a float layer in the QDQ model by its node's name; ``None`` where it stayed float."""
    node = next((n for n in model.graph.node if n.name == layer.node.name), None)
    if node is None:
        return None
    site = _Site(model, layer, node)
    return site if site.is_integer else None


def _describe(layer: OnnxLayer, site: _Site, inputs: tuple[Array, Array]) -> Layer:
    shape = count_outputs(layer, inputs[0])
    moments = measure_moments(
        layer.op,
        layer.weights.shape,
        (Activation(values=inputs[0]), Activation(values=inputs[1])),
        output=np.empty(shape, np.int8),
        seed=layer.op.index,
    )
    stored, scales = site.read_weights()
    turned = turn_weights(layer.node, stored)
    depthwise = layer.weights.shape != turned.shape
    integers = group_weights(layer.op, turned.transpose(3, 1, 2, 0) if depthwise else turned)
    weights = group_weights(layer.op, layer.weights)
    rows = integers.shape[:2]
    bias = layer.bias.reshape(rows)
    return Layer(
        name=layer.node.name,
        op=layer.op,
        weights=weights,
        target=weights,
        integers=integers,
        scales=np.broadcast_to(scales.astype(np.float64).ravel(), (rows[0] * rows[1],)).reshape(
            rows
        ),
        shares_scale=scales.size < rows[0] * rows[1],
        float_bias=bias,
        bias=bias,
        has_bias=layer.has_bias,
        moments=moments,
    )
