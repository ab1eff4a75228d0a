"""Ranges that integer kernels share: what a concatenation joins has one scale.

The engine gives the parts of a concatenation the scale of the whole, by another rounding where a
part has its own already. A sigmoid or softmax has: 1/256, whatever it is followed by. So scores
that are joined keep that scale, and parts that are computed get that of the whole at once.
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.calibrate import ChannelRange, Ranges
from edgevision.quantization.layers import WEIGHTED

# 256 steps of 1/256 from 0 on: what integer kernels write for values between 0 and 1.
_UNIT = (0.0, 255 / 256)
_PASSING = (OpKind.RESHAPE, OpKind.TRANSPOSE, OpKind.CONCAT)
_BOUNDED = ("LOGISTIC", "SOFTMAX", "Sigmoid", "Softmax")


def share_ranges(graph: Graph, ranges: Ranges) -> Ranges:
    """Give everything that is joined the range of the whole; for 8-bit activations.

    Args:
        graph: The float network.
        ranges: Range of every float activation.

    Returns:
        The ranges; those of joined sigmoids and softmaxes are 0 to 255/256.
    """
    shared = dict(ranges)
    # From the end: a concatenation that is joined itself has its range from there.
    for op in reversed(graph.ops):
        if op.kind is not OpKind.CONCAT or op.outputs[0] not in ranges:
            continue
        if _is_read_by_concat(graph, op):
            continue
        tensors = _list_parts(graph, op)
        bounds = shared[op.outputs[0]].bounds()
        if all(_is_bounded(graph, t) for t in tensors if not _is_passed(graph, t)):
            bounds = _UNIT
        low, high = (np.full(1, v, np.float32) for v in bounds)
        for tensor in (op.outputs[0], *tensors):
            if tensor in shared and _takes_any_range(graph, tensor):
                shared[tensor] = ChannelRange(low=low, high=high)
    return shared


def _list_parts(graph: Graph, op: Op) -> list[int]:
    """List what a concatenation joins, through reshapes and concatenations before it."""
    found, pending = [], list(op.inputs)
    while pending:
        tensor = pending.pop()
        found.append(tensor)
        if _is_passed(graph, tensor):
            pending.extend(_inputs_of(graph, tensor))
    return found


def _is_passed(graph: Graph, tensor: int) -> bool:
    index = graph.producers.get(tensor)
    return index is not None and graph.ops[index].kind in _PASSING


def _inputs_of(graph: Graph, tensor: int) -> list[int]:
    op = graph.ops[graph.producers[tensor]]
    return list(op.inputs if op.kind is OpKind.CONCAT else op.inputs[:1])


def _is_bounded(graph: Graph, tensor: int) -> bool:
    index = graph.producers.get(tensor)
    return index is not None and graph.ops[index].name in _BOUNDED


def _is_read_by_concat(graph: Graph, op: Op) -> bool:
    readers = graph.consumers.get(op.outputs[0], ())
    return any(graph.ops[i].kind is OpKind.CONCAT for i in readers)


def _takes_any_range(graph: Graph, tensor: int) -> bool:
    """Whether a tensor may have the range of what it is joined into, and nobody else reads it."""
    index = graph.producers.get(tensor)
    if index is None or len(graph.consumers.get(tensor, ())) > 1:
        return False
    op = graph.ops[index]
    return op.kind in (*WEIGHTED, *_PASSING) or op.name in _BOUNDED
