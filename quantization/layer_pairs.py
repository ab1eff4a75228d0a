"""Two layers of which the second alone reads the first: where channels may be scaled.

Between them a channel may be multiplied by any positive factor when the next layer's weights are
divided by it, as long as ReLU6 does not notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.layers import CONVOLUTIONS, get_bias, get_weights

Array = np.ndarray[Any, Any]

_LINEAR_ACTIVATIONS = (None, "", "none", "relu", "relu6")
CEILING = 6.0
"""Of ReLU6."""
# Room for images on which a channel goes further than on those seen.
_MARGIN = 1.1


def find_pairs(graph: Graph, kinds: Sequence[OpKind] = CONVOLUTIONS) -> Iterator[tuple[Op, Op]]:
    """Yield the layers of which the second alone reads the first, with nothing but ReLU between.

    Args:
        graph: A float network.
        kinds: Of the layers.
    """
    for op in graph.ops:
        readers = graph.consumers.get(op.outputs[0], ())
        if op.kind not in kinds or len(readers) != 1 or op.outputs[0] in graph.outputs:
            continue
        reader = graph.ops[readers[0]]
        linear = op.attributes.get("activation") in _LINEAR_ACTIVATIONS
        if linear and reader.kind in kinds and _may_scale(graph, op, reader):
            yield op, reader


def find_room(seen: ChannelRange) -> Array:
    """Return the factor with which every channel would just fill its tensor's range.

    A margin is left for images on which a channel goes further. A dead channel keeps its size.

    >>> seen = ChannelRange(low=np.zeros(3), high=np.array([6.0, 2.0, 0.0]))
    >>> [round(float(f), 2) for f in find_room(seen)]
    [0.91, 2.73, 1.0]
    """
    low, high = seen.bounds()
    room = np.full(seen.high.shape, np.inf)
    for bound, values in ((high, seen.high), (-low, -seen.low)):
        used = values * _MARGIN > 1e-6
        if bound > 0:
            room[used] = np.minimum(room[used], bound / (values[used] * _MARGIN))
    room[np.isinf(room)] = 1.0
    return room


def measure_reach(op: Op, weights: Array) -> Array:
    """Return the largest weight of each output channel of a convolution, (C,)."""
    axes = (0, 1, 2) if op.kind is OpKind.DEPTHWISE_CONV_2D else (1, 2, 3)
    reach: Array = np.abs(weights).max(axis=axes)
    return reach


def scale_pair(
    graph: Graph, pair: tuple[Op, Op], factors: Array, constants: dict[int, Array]
) -> None:
    """Multiply the outputs of the first layer, and divide what the second makes of them."""
    scale_outputs(graph, pair[0], factors, constants)
    scale_inputs(graph, pair[1], factors, constants)


def scale_outputs(graph: Graph, op: Op, factors: Array, constants: dict[int, Array]) -> None:
    """Multiply what a convolution gives, channel by channel.

    Args:
        graph: The network.
        op: The convolution.
        factors: (C,).
        constants: Values that differ from the file's, by tensor index; changed in place.
    """
    depthwise = op.kind is OpKind.DEPTHWISE_CONV_2D
    rows = factors if depthwise else factors.reshape(-1, 1, 1, 1)
    _multiply(get_weights(graph, op), rows, constants)
    _multiply(get_bias(graph, op), factors, constants)


def scale_inputs(graph: Graph, op: Op, factors: Array, constants: dict[int, Array]) -> None:
    """Let a convolution give the same for inputs that were multiplied, channel by channel."""
    _multiply(get_weights(graph, op), 1 / factors, constants)


def _multiply(tensor: Tensor | None, factors: Array, constants: dict[int, Array]) -> None:
    if tensor is not None:
        values = constants.get(tensor.index, tensor.data)
        if values is not None:
            constants[tensor.index] = (values * factors).astype(np.float32)


def is_padded(op: Op, weights: Tensor) -> bool:
    """Whether a layer may see zeros beside the image; dense ones never do."""
    return (
        op.kind in CONVOLUTIONS
        and op.attributes["padding"] != "valid"
        and max(weights.shape[1:3]) > 1
    )


def push_values(op: Op, weights: Array, values: Array) -> Array:
    """Return what input channels that hold one value each add to every output, (O,).

    Args:
        op: A layer without padding.
        weights: As the file stores them, or of some of the input channels.
        values: (C,) of those channels.
    """
    depthwise = op.kind is OpKind.DEPTHWISE_CONV_2D
    axes = (0, 1, 2) if depthwise else tuple(range(1, weights.ndim))
    given: Array = (weights * values).sum(axis=axes)
    return given


def _may_scale(graph: Graph, first: Op, second: Op) -> bool:
    """Whether both layers have constants of their own, and the second takes channel by channel."""
    bias = get_bias(graph, first)
    if second.inputs[0] != first.outputs[0] or bias is None:
        return False
    owned = (get_weights(graph, first), get_weights(graph, second), bias)
    if any(t.data is None or t.dtype != "float32" for t in owned):
        return False
    if any(len(graph.consumers[t.index]) > 1 for t in owned):
        return False
    channels = graph.tensors[first.outputs[0]].shape[-1]
    return bool(get_weights(graph, second).shape[-1] == channels)
