"""Which operation of a quantized network is which of the float one.

Files of other converters hold further QUANTIZE operations, fuse activations or leave them apart,
and drop or add reshapes. So both are aligned by what they compute and by shape, and a layer with
weights is believed where its weights are those of the float one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from edgevision.errors import InvalidModelError
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.quantization.layers import WEIGHTED

Array = np.ndarray[Any, Any]

_PASSING = (OpKind.QUANTIZE, OpKind.DEQUANTIZE)
_LEAST_PAIRED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One operation, possibly with the activation behind it.

    Attributes:
        op: The operation.
        last: Index of the last operation that belongs to it.
        output: Tensor that it writes.
    """

    op: Op
    last: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """The same layer in both networks.

    Attributes:
        before: In the float network.
        after: In the quantized one.
        inputs: Tensor of the float network by each activation that the quantized operation reads.
    """

    before: Side
    after: Side
    inputs: dict[int, int]


IsSame = Callable[[Side, Side], bool]
"""Whether two layers with weights of equal shapes hold the same ones."""


def pair_networks(before: Graph, after: Graph, is_same: IsSame | None = None) -> tuple[Pair, ...]:
    """Pair the operations of a float network with those of its quantized form.

    Args:
        before: The float network.
        after: The quantized network.
        is_same: Compares weights; by default shapes are enough.

    Returns:
        In the order of execution; what has no counterpart is left out.

    Raises:
        InvalidModelError: Fewer than half of the layers with weights have a counterpart.
    """
    sides = _list_sides(before, merge=False), _list_sides(after, merge=False)
    keys = _list_keys(before, sides[0]), _list_keys(after, sides[1])
    if [key[:2] for key in keys[0]] != [key[:2] for key in keys[1]]:
        sides = _list_sides(before, merge=True), _list_sides(after, merge=True)
        keys = _list_keys(before, sides[0]), _list_keys(after, sides[1])
    matcher = SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    places = [(a + i, b + i) for a, b, size in matcher.get_matching_blocks() for i in range(size)]
    pairs = _connect((before, after), [(sides[0][a], sides[1][b]) for a, b in places], is_same)
    _check_enough(before, after, pairs)
    return pairs


def find_constant(graph: Graph, index: int) -> Tensor | None:
    """Return the constant behind a tensor, through DEQUANTIZE; ``None`` where it is computed."""
    tensor = graph.tensors[trace_back(graph, index)]
    return tensor if tensor.constant else None


def trace_back(graph: Graph, index: int) -> int:
    """Return what a tensor was before it changed its number type or scale."""
    producer = graph.producers.get(index)
    while producer is not None and graph.ops[producer].kind in _PASSING:
        index = graph.ops[producer].inputs[0]
        producer = graph.producers.get(index)
    return index


def list_read(graph: Graph, op: Op) -> list[int]:
    """List the activations that an operation reads."""
    return [t for t in op.inputs if t >= 0 and find_constant(graph, t) is None]


def feeds_softmax(graph: Graph, index: int) -> bool:
    """Whether a softmax is all that reads a tensor, through reshapes."""
    readers = [graph.ops[i] for i in graph.consumers.get(index, ())]
    while len(readers) == 1 and readers[0].kind is OpKind.RESHAPE:
        readers = [graph.ops[i] for i in graph.consumers.get(readers[0].outputs[0], ())]
    return bool(readers) and all(op.kind is OpKind.SOFTMAX for op in readers)


def _list_sides(graph: Graph, *, merge: bool) -> list[Side]:
    sides, taken = list[Side](), set[int]()
    for op in graph.ops:
        if op.kind in _PASSING or op.index in taken or not _is_used(graph, op):
            continue
        if all(find_constant(graph, t) is not None for t in op.inputs if t >= 0):
            continue  # computed from constants alone
        behind = _find_activation(graph, op) if merge else None
        closing = behind or op
        taken.add(closing.index)
        sides.append(Side(op=op, last=closing.index, output=closing.outputs[0]))
    return sides


def _is_used(graph: Graph, op: Op) -> bool:
    return any(t in graph.consumers or t in graph.outputs for t in op.outputs[:1])


def _find_activation(graph: Graph, op: Op) -> Op | None:
    """Return the ReLU right behind an operation that has none fused, and that nobody else reads."""
    readers = graph.consumers.get(op.outputs[0], ())
    if op.attributes.get("activation") or readers != (op.index + 1,):
        return None
    following = graph.ops[op.index + 1]
    # The next layer may have a ReLU fused: that one is no part of this layer.
    fits = following.kind is OpKind.ACTIVATION
    fits &= following.attributes.get("activation") in ("relu", "relu6")
    return following if fits else None


def _list_keys(graph: Graph, sides: Sequence[Side]) -> list[tuple[Any, ...]]:
    """Return what has to be equal of two operations."""
    keys = []
    for side in sides:
        shape = graph.tensors[side.output].shape
        what = side.op.attributes.get("activation") if side.op.kind is OpKind.ACTIVATION else ""
        weights: tuple[int, ...] = ()
        if side.op.kind in WEIGHTED and (found := find_constant(graph, side.op.inputs[1])):
            weights = found.shape
        keys.append((str(side.op.kind), what, shape[1:], weights))
    return keys


def _connect(
    graphs: tuple[Graph, Graph], matches: Sequence[tuple[Side, Side]], is_same: IsSame | None
) -> tuple[Pair, ...]:
    """Keep the matches that read the same things."""
    known = {graphs[1].inputs[0]: graphs[0].inputs[0]}
    pairs = []
    for before, after in matches:
        inputs = _match_inputs(graphs, (before.op, after.op), known)
        if inputs is None:
            continue
        if is_same and before.op.kind in WEIGHTED and not is_same(before, after):
            continue
        known[after.output] = before.output
        pairs.append(Pair(before=before, after=after, inputs=inputs))
    return tuple(pairs)


def _match_inputs(
    graphs: tuple[Graph, Graph], ops: tuple[Op, Op], known: dict[int, int]
) -> dict[int, int] | None:
    """Map what the quantized operation reads to what the float one reads; ``None`` if different."""
    reads = [list_read(graph, op) for graph, op in zip(graphs, ops, strict=True)]
    if len(reads[0]) != len(reads[1]):
        return None
    origins = {trace_back(graphs[0], t): t for t in reads[0]}
    found = {}
    for position, tensor in enumerate(reads[1]):
        origin = known.get(trace_back(graphs[1], tensor))
        if origin is None:  # behind something that only one of both has
            mine = reads[0][position]
        elif trace_back(graphs[0], origin) in origins:
            mine = origins[trace_back(graphs[0], origin)]
        else:
            return None
        if graphs[0].tensors[mine].shape[1:] != graphs[1].tensors[tensor].shape[1:]:
            return None
        found[tensor] = mine
    return found


def _check_enough(before: Graph, after: Graph, pairs: Sequence[Pair]) -> None:
    wanted = sum(op.kind in WEIGHTED for op in before.ops)
    paired = sum(pair.after.op.kind in WEIGHTED for pair in pairs)
    if paired >= _LEAST_PAIRED * wanted and paired:
        return
    others = sum(op.kind in WEIGHTED for op in after.ops)
    raise InvalidModelError(
        "the layers of the two files do not pair, so nothing can be said of them",
        received=f"{paired} of {wanted} float layers found among {others} quantized ones",
        remedy="give the float file that the quantized one was made from",
    )
