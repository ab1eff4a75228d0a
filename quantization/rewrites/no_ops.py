"""Operations that change nothing leave the network."""

from __future__ import annotations

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.constant_arithmetic import read_arithmetic

# Behind these, an activation that was applied already does nothing.
_BOUNDED = {"RELU": ("relu", "relu6"), "RELU6": ("relu6",)}


def remove_no_ops(network: Network) -> tuple[Network, int]:
    """Remove what hands its input on: reshapes to the same shape, empty margins, additions of zero.

    Args:
        network: The float network, before calibration.

    Returns:
        The equivalent network, and how many operations went away.
    """
    graph = network.graph
    idle = [op for op in graph.ops if _is_idle(graph, op) and not _is_bare(graph, op)]
    if not idle:
        return network, 0
    editor = ModelEditor(network.model)
    for op in reversed(idle):  # from the end: what an earlier one hands on may be handed on too
        editor.rewire(op.outputs[0], op.inputs[0])
    editor.remove_ops([op.index for op in idle])
    editor.remove_unused()
    return network.with_model(editor.to_bytes()), len(idle)


def _is_idle(graph: Graph, op: Op) -> bool:
    source, result = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    same = source.shape == result.shape and source.dtype == result.dtype
    if not same or source.constant:
        return False
    if op.name in ("RESHAPE", "PAD"):
        return True
    if op.name == "TRANSPOSE":
        order = graph.tensors[op.inputs[1]].data
        return order is not None and list(order) == list(range(len(order)))
    if op.name in _BOUNDED:
        producer = graph.producers.get(op.inputs[0])
        before = graph.ops[producer].attributes.get("activation") if producer is not None else None
        return before in _BOUNDED[op.name]
    found = read_arithmetic(graph, op)
    if found is None:
        return False
    return bool(np.all(found.factors == 1) and np.all(found.shifts == 0))


def _is_bare(graph: Graph, op: Op) -> bool:
    """Whether an operation names an output of the network: without it that would lose its name."""
    return op.outputs[0] in graph.outputs
