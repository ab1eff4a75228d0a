"""Biases that do not fit the steps which the engine gave them.

A bias is stored in steps of input scale × weight scale. The weights of a channel that training left
dead may be as small as 1e-30, and so is their scale: the bias behind them then saturates, and a
channel that should always give 0.57 gives 0. Such a channel gets a larger weight scale, with which
its bias fits; its weights are zero in any scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.bias import store_bias
from edgevision.quantization.layers import find_layers, get_activations, get_bias, get_weights
from edgevision.quantization.storage import Stored

Array = np.ndarray[Any, Any]

# Half of what 32 bits hold: the sums of the products come on top.
_LARGEST = 2.0**30


def fit_biases(model: bytes, float_graph: Graph) -> bytes:
    """Give channels whose bias saturates a weight scale with which it fits.

    Args:
        model: Bytes of a quantized ``.tflite``, as the engine made it.
        float_graph: The network that it was made from.

    Returns:
        The model; unchanged where every bias fits.
    """
    graph = read_tflite(model)
    pairs = list(zip(find_layers(float_graph), find_layers(graph), strict=False))
    stored = Stored()
    for float_op, op in pairs:
        if float_op.kind is op.kind:
            stored = stored.joined_with(_fit_layer((float_graph, graph), (float_op, op)))
    return stored.write(model)


def find_scales(bias: Array, scales: Array, source: float) -> Array:
    """Return weight scales with which every bias fits into 31 bits.

    Args:
        bias: (C,) float.
        scales: (C,) weight scales.
        source: Scale of the layer's input.

    >>> find_scales(np.array([0.5, 0.5]), np.array([1e-2, 1e-30]), 1.0).tolist()
    [0.01, 4.656612873077393e-10]
    """
    fitting: Array = np.maximum(scales, np.abs(bias) / (_LARGEST * source))
    return fitting


def _fit_layer(graphs: tuple[Graph, Graph], ops: tuple[Op, Op]) -> Stored:
    tensors = [get_bias(graph, op) for graph, op in zip(graphs, ops, strict=True)]
    weights, float_weights = get_weights(graphs[1], ops[1]), get_weights(graphs[0], ops[0])
    source = get_activations(graphs[1], ops[1])[0].quantization
    expected, bias = (None if t is None else t.data for t in tensors)
    if bias is None or expected is None or bias.dtype != np.int32 or source is None:
        return Stored()
    quantization, values = weights.quantization, float_weights.data
    if quantization is None or values is None or len(quantization.scales) != expected.size:
        return Stored()
    scales = np.array(quantization.scales, np.float64)
    fitting = find_scales(expected.ravel(), scales, source.scales[0])
    changed = fitting > scales * (1 + 1e-6)
    if tensors[1] is None or not changed.any():
        return Stored()
    fitting = np.where(changed, fitting, scales).astype(np.float32)
    shape = [1] * values.ndim
    shape[quantization.axis or 0] = -1
    integers = np.rint(values / fitting.reshape(shape)).clip(-127, 127).astype(np.int8)
    steps = fitting * np.float32(source.scales[0])
    biases = store_bias(expected.ravel(), steps.astype(np.float64), bias.dtype)
    return Stored(
        constants={weights.index: integers, tensors[1].index: biases.reshape(bias.shape)},
        scales={weights.index: fitting, tensors[1].index: steps},
    )
