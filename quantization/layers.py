"""One layer with weights, in the float and in the quantized network, as repair steps see it.

A step is a pure function from ``Layer`` to ``Layer``: it may change what is to be stored, the
integers, their scales and the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.quantization.moments import Moments, group_weights, ungroup_weights

Array = np.ndarray[Any, Any]

WEIGHTED = (
    OpKind.CONV_2D,
    OpKind.DEPTHWISE_CONV_2D,
    OpKind.FULLY_CONNECTED,
    OpKind.TRANSPOSE_CONV_2D,
)
REPAIRABLE = WEIGHTED[:3]
CONVOLUTIONS = WEIGHTED[:2]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """Weights of one layer in G groups of O rows of K values, and the moments of its inputs.

    Attributes:
        name: For people.
        op: The operation of the quantized network.
        weights: (G, O, K) float.
        target: (G, O, K) float, what the integers are to stand for.
        integers: (G, O, K) int8, what is stored.
        scales: (G, O) float64, step of the weights.
        shares_scale: Whether all rows have one step.
        float_bias: (G, O) float64, zeros where the layer has none.
        bias: (G, O) float64, what will be stored.
        has_bias: Whether there is a place to store it.
        moments: Of the patches that enter.
    """

    name: str
    op: Op
    weights: Array
    target: Array
    integers: Array
    scales: Array
    shares_scale: bool
    float_bias: Array
    bias: Array
    has_bias: bool
    moments: Moments


LayerStep = Callable[[Layer], Layer]


def find_layers(graph: Graph) -> list[Op]:
    """List the operations with constant weights, in order."""
    return [op for op in graph.ops if op.kind in WEIGHTED and get_weights(graph, op).constant]


def get_weights(graph: Graph, op: Op) -> Tensor:
    """Return the weights of a layer (the second input in every TFLite operation of ours)."""
    return graph.tensors[op.inputs[1]]


def get_bias(graph: Graph, op: Op) -> Tensor | None:
    """Return the bias of a layer, ``None`` where it has none."""
    if op.kind is OpKind.TRANSPOSE_CONV_2D or len(op.inputs) < 3 or op.inputs[2] < 0:
        return None
    return graph.tensors[op.inputs[2]]


def get_activations(graph: Graph, op: Op) -> tuple[Tensor, Tensor]:
    """Return what a layer reads and writes."""
    position = 2 if op.name == "TRANSPOSE_CONV" else 0
    return graph.tensors[op.inputs[position]], graph.tensors[op.outputs[0]]


def is_repairable(graph: Graph, op: Op) -> bool:
    """Whether a quantized layer has int8 weights of its own; activations may be float.

    A depthwise layer with one weight a channel is exact in its own scales already.
    """
    if op.kind not in REPAIRABLE:
        return False
    weights = get_weights(graph, op)
    if op.kind is OpKind.DEPTHWISE_CONV_2D and weights.shape[1:3] == (1, 1):
        return False
    if weights.data is None or weights.dtype != "int8" or weights.quantization is None:
        return False
    bias = get_bias(graph, op)
    owned = [t.index for t in (weights, bias) if t is not None]
    return all(len(graph.consumers[index]) == 1 for index in owned)


def build_layer(graphs: tuple[Graph, Graph], ops: tuple[Op, Op], moments: Moments) -> Layer:
    """Gather what a repair step needs of one layer.

    Args:
        graphs: The float and the quantized network.
        ops: The layer in both.
        moments: Of its inputs.
    """
    stored = get_weights(graphs[1], ops[1])
    integers = group_weights(ops[1], _data(stored))
    weights = group_weights(ops[0], _data(get_weights(graphs[0], ops[0])))
    rows = integers.shape[:2]
    steps = np.array(stored.quantization.scales if stored.quantization else (1.0,), np.float64)
    scales = np.broadcast_to(steps, (rows[0] * rows[1],)).reshape(rows)
    bias = get_bias(graphs[0], ops[0])
    float_bias = np.zeros(rows) if bias is None else _data(bias).reshape(rows).astype(np.float64)
    return Layer(
        name=get_activations(graphs[0], ops[0])[1].name.partition(";")[0],
        op=ops[1],
        weights=weights,
        target=weights,
        integers=integers,
        scales=scales,
        shares_scale=len(steps) < scales.size,
        float_bias=float_bias,
        bias=float_bias,
        has_bias=get_bias(graphs[1], ops[1]) is not None,
        moments=moments,
    )


def restore_weights(layer: Layer, graph: Graph) -> Array:
    """Return the integers in the shape that the file stores."""
    return ungroup_weights(layer.op, layer.integers, get_weights(graph, layer.op).shape)


def _data(tensor: Tensor) -> Array:
    return np.zeros(tensor.shape) if tensor.data is None else tensor.data
