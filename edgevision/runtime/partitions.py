"""Which operations a delegate replaced, told from the interpreter's own list of nodes.

A TensorFlow Lite interpreter keeps the nodes that a delegate took and appends one ``DELEGATE`` node
for each partition. It does not say which nodes belong to it, but its inputs and outputs enclose them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DELEGATE = "DELEGATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of an interpreter.

    Attributes:
        name: Operation name; a delegate's is ``DELEGATE``.
        inputs: Tensor indices; -1 for an absent optional input.
        outputs: Tensor indices.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def find_partitions(nodes: Sequence[Node]) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the nodes that each delegate node replaced.

    Args:
        nodes: All nodes in the interpreter's order, the delegates' last.

    >>> conv = Node(name="CONV_2D", inputs=(0, 1), outputs=(2,))
    >>> relu = Node(name="RELU", inputs=(2,), outputs=(3,))
    >>> find_partitions([conv, relu, Node(name=DELEGATE, inputs=(0, 1), outputs=(2,))])
    ((0,),)
    """
    producers = {
        tensor: index
        for index, node in enumerate(nodes)
        if node.name != DELEGATE
        for tensor in node.outputs
    }
    return tuple(_enclosed(node, nodes, producers) for node in nodes if node.name == DELEGATE)


def _enclosed(
    delegate: Node, nodes: Sequence[Node], producers: dict[int, int]
) -> tuple[int, ...]:
    """Walk back from the delegate's outputs to its inputs."""
    entries = set(delegate.inputs)
    found: set[int] = set()
    waiting = [t for t in delegate.outputs if t not in entries]
    while waiting:
        index = producers.get(waiting.pop())
        if index is None or index in found:
            continue
        found.add(index)
        waiting += [t for t in nodes[index].inputs if t not in entries]
    return tuple(sorted(found))
