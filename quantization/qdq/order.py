"""One order for the operations of a network, however its file lists them.

Quantizers sort the nodes anew, and branches that do not need each other then change places.
"""

from __future__ import annotations

from dataclasses import replace

from edgevision.graph.graph import Graph, Op


def sort_ops(graph: Graph) -> Graph:
    """Order operations as the outputs, one after the other, need them.

    What no output needs is left out.

    Args:
        graph: A network; its tensors keep their indices.
    """
    ordered, done = list[Op](), set[int]()
    pending = _find_makers(graph, graph.outputs)
    while pending:
        op = pending[-1]
        missing = [maker for maker in _find_makers(graph, op.inputs) if maker.index not in done]
        if missing and op.index not in done:
            pending.extend(missing)
            continue
        pending.pop()
        if op.index not in done:
            done.add(op.index)
            ordered.append(replace(op, index=len(ordered)))
    return replace(graph, ops=tuple(ordered))


def _find_makers(graph: Graph, tensors: tuple[int, ...]) -> list[Op]:
    """Return what writes some tensors, the first one last."""
    made = [graph.producers[t] for t in tensors if t in graph.producers]
    return [graph.ops[index] for index in reversed(made)]
