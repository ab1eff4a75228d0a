"""Islands: operations of an 8-bit network that run in float or on 16-bit activations.

Reshapes, slices, maxima and concatenations hand values on in the scale that they came in, so what
they connect is one activation: to lift a part of it would gain nothing, the rest still rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.specs import Lift

_PASSING = (
    *(OpKind.RESHAPE, OpKind.TRANSPOSE, OpKind.SLICE, OpKind.SPLIT, OpKind.GATHER),
    *(OpKind.PAD, OpKind.MAX_POOL, OpKind.CONCAT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """Operations whose activations have more than 8 bits.

    Attributes:
        ops: Their indices, sorted.
        lift: What they compute in.
    """

    ops: tuple[int, ...] = ()
    lift: Lift = Lift.FLOAT


def find_island(graph: Graph, writers: Iterable[int], lift: Lift = Lift.FLOAT) -> Island:
    """Return the operations that have to be lifted for activations not to be rounded to 8 bits.

    Args:
        graph: The float network.
        writers: Operations that write the activations, by index.
        lift: What they are lifted to.
    """
    ops = set[int]()
    for index in writers:
        ops.add(index)
        ops.update(i for t in graph.ops[index].outputs for i in graph.consumers.get(t, ()))
    return Island(ops=tuple(sorted(ops)), lift=lift)


def find_writers(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Tell for every operation which ones write its activation: itself, and what shares its scale.

    Args:
        graph: The float network.

    Returns:
        Sorted indices of operations by index of an operation. What shares the scale of the
        network's input is left out: pixels have 8 bits.
    """
    group = {op.index: {op.index} for op in graph.ops}
    inputs = set[int]()
    for op in graph.ops:
        if op.kind not in _PASSING:
            continue
        sources = _list_floats(graph, op.inputs)
        if any(t in graph.inputs for t in sources):
            inputs.add(op.index)
        for source in (graph.producers[t] for t in sources if t in graph.producers):
            joined = group[op.index] | group[source]
            group.update(dict.fromkeys(joined, joined))
    return {
        index: tuple(sorted(members)) for index, members in group.items() if not members & inputs
    }


def writes_output(graph: Graph, island: Island) -> bool:
    """Whether an output of the network would be lifted."""
    return any(t in graph.outputs for index in island.ops for t in graph.ops[index].outputs)


def _list_floats(graph: Graph, tensors: Sequence[int]) -> list[int]:
    """List the activations among inputs: shapes, axes and paddings are none."""
    known = (graph.tensors[t] for t in tensors if t >= 0)
    return [t.index for t in known if t.dtype == "float32" and not t.constant]
