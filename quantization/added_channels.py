"""Added channels: a narrow first layer gets room for copies, where its rounding costs too much.

A network that starts with eight channels at full resolution loses most of its accuracy there: the
noise of eight roundings reaches everything behind. Integer kernels work on sixteen channels at
once, the width of a vector register, so that channels up to sixteen cost next to nothing on a
phone or a Raspberry Pi: they are added with weights of zero, and ``spare_channels.py`` fills them.

Done only where the rounding of a chain's activations alone makes a thousandth of the power of the
answers, and where the multiplications of the network grow by no more than a sixth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op
from edgevision.graph.macs import count_macs
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange
from edgevision.quantization.diagnose import measure_error
from edgevision.quantization.layers import get_bias, get_weights
from edgevision.quantization.network import Network
from edgevision.quantization.sensitivity import pick_images, round_values
from edgevision.quantization.spare_channels import find_chains
from edgevision.quantization.walk import Walk

Array = np.ndarray[Any, Any]

LANES = 16
"""Channels that an integer kernel handles at once: 8-bit values in a 128-bit register."""

_LARGEST_NOISE = 1e-3
_LARGEST_GROWTH = 1 / 6


def add_channels(network: Network, images: Array) -> tuple[Network, int]:
    """Add channels without weights to chains that are narrow and noisy.

    Args:
        network: With its ranges.
        images: (N, *input shape) float32; some of them are used.

    Returns:
        The equivalent network with its ranges, and the number of layers that were widened.
    """
    total = count_macs(network.graph).total
    added = 0
    for index in [ops[0].index for ops in find_chains(network.graph)]:
        # Indices stay what they are, shapes do not.
        ops = next(c for c in find_chains(network.graph) if c[0].index == index)
        channels = network.graph.tensors[ops[0].outputs[0]].shape[-1]
        if channels >= LANES or not all(op.outputs[0] in network.ranges for op in ops[:-1]):
            continue
        widened = widen_chain(network, ops, LANES)
        growth = count_macs(widened.graph).total - total
        if growth > total * _LARGEST_GROWTH or measure_noise(network, ops, images) < _LARGEST_NOISE:
            continue
        network, added = widened, added + len(ops)
    return network, added


def tell_growth(before: Graph, after: Graph) -> list[str]:
    """Say what added channels cost; nothing where there are none."""
    counts = [count_macs(graph).total for graph in (before, after)]
    if counts[1] <= counts[0]:
        return []
    return [
        f"narrow first layers got more channels for accuracy: {counts[1] / counts[0] - 1:.0%} more "
        "multiplications, and memory for them; --steps=-added_channels keeps them as they are"
    ]


def measure_noise(network: Network, ops: tuple[Op, ...], images: Array) -> float:
    """Return noise power / signal power of the outputs where only a chain is rounded.

    Args:
        network: Float, with its ranges.
        ops: The chain; what its last layer writes is not rounded.
        images: (N, *input shape) float32; some of them are used.
    """
    walk = Walk(network.model, pick_images(images), 1)
    walk.advance(ops[0].index)
    expected = walk.run_rest(walk.try_layer())
    for op in ops[:-1]:
        walk.advance(op.index)
        outputs, tensor = walk.try_layer(), op.outputs[0]
        outputs[tensor] = round_values(outputs[tensor], network.ranges[tensor])
        walk.commit(outputs)
    return measure_error(expected, walk.run_rest(walk.try_layer()))


def widen_chain(network: Network, ops: tuple[Op, ...], channels: int) -> Network:
    """Give a chain more channels, the new ones with weights and biases of zero.

    Args:
        network: With its ranges.
        ops: The chain, from ``find_chains``.
        channels: Of all activations between its layers.
    """
    graph, editor, ranges = network.graph, ModelEditor(network.model), dict(network.ranges)
    for op in ops[:-1]:
        tensor = op.outputs[0]
        shape = [*graph.tensors[tensor].shape[:-1], channels]
        stored = editor.model.subgraphs[0].tensors[tensor]
        stored.shape, stored.shapeSignature = shape, None
        seen = ranges[tensor]
        low, high = (_pad(side, 0, channels) for side in (seen.low, seen.high))
        ranges[tensor] = ChannelRange(low=low, high=high)
        _pad_outputs(editor, graph, op, channels)
    weights = get_weights(graph, ops[-1])
    if weights.data is not None:
        editor.set_constant(weights.index, _pad(weights.data, -1, channels))
    return network.with_model(editor.to_bytes()).with_ranges(ranges)


def _pad_outputs(editor: ModelEditor, graph: Graph, op: Op, channels: int) -> None:
    """Give a layer more outputs (a depthwise one has as many inputs)."""
    axis = -1 if op.kind is OpKind.DEPTHWISE_CONV_2D else 0
    for tensor, place in ((get_weights(graph, op), axis), (get_bias(graph, op), 0)):
        if tensor is not None and tensor.data is not None:
            editor.set_constant(tensor.index, _pad(tensor.data, place, channels))


def _pad(values: Array, axis: int, size: int) -> Array:
    """Append zeros along one axis."""
    margins = [(0, 0)] * values.ndim
    margins[axis] = (0, size - values.shape[axis])
    return np.pad(values, margins)
