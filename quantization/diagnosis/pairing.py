"""Which operation of a quantized network is which of the float one.

Files of other converters hold further QUANTIZE operations, fuse activations or leave them apart,
and drop or add reshapes; ours may have more channels between two layers. So both are aligned by
what they compute and by shape, what is left in between without regard to widths, and a layer with
weights is believed where its weights are those of the float one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from edgevision.errors import InvalidModelError
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.diagnosis.sides import (
    Side,
    list_keys,
    list_read,
    list_sides,
    trace_back,
)
from edgevision.quantization.layers import WEIGHTED

_LEAST_PAIRED = 0.5


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


Accept = Callable[[Pair], bool]
"""Whether two layers that look alike are the same one; asked in the order of execution."""


def pair_networks(before: Graph, after: Graph, accept: Accept | None = None) -> tuple[Pair, ...]:
    """Pair the operations of a float network with those of its quantized form.

    Args:
        before: The float network.
        after: The quantized network.
        accept: Compares weights, and channels where there are more in one network; by default equal
            shapes are enough, and needed.

    Returns:
        In the order of execution; what has no counterpart is left out.

    Raises:
        InvalidModelError: Fewer than half of the layers with weights have a counterpart.
    """
    sides = list_sides(before, merge=False), list_sides(after, merge=False)
    keys = list_keys(before, sides[0]), list_keys(after, sides[1])
    if [key[:2] for key in keys[0]] != [key[:2] for key in keys[1]]:
        sides = list_sides(before, merge=True), list_sides(after, merge=True)
        keys = list_keys(before, sides[0]), list_keys(after, sides[1])
    places = _match(*keys)
    if accept:
        loose = [list_keys(g, s, widths=False) for g, s in zip((before, after), sides, strict=True)]
        places = _fill_gaps(places, loose[0], loose[1])
    pairs = _connect((before, after), [(sides[0][a], sides[1][b]) for a, b in places], accept)
    _check_enough(before, after, pairs)
    return pairs


def not_quantized(shown: object) -> InvalidModelError:
    """Return the error of a second file that holds no integers."""
    return InvalidModelError(
        "the second file is not quantized",
        received=shown,
        remedy="name the float file first and the quantized one second",
    )


def check_inputs(before: Graph, after: Graph) -> None:
    """Refuse two networks that take different inputs.

    Raises:
        InvalidModelError: With both shapes.
    """
    shapes = [[list(t.shape) for t in graph.input_specs()] for graph in (before, after)]
    if shapes[0] != shapes[1]:
        raise InvalidModelError(
            "the two files take different inputs",
            received=f"float {shapes[0]}, quantized {shapes[1]}",
            remedy="give the float file that the quantized one was made from",
        )


def feeds_softmax(graph: Graph, index: int) -> bool:
    """Whether a softmax is all that reads a tensor, through reshapes."""
    readers = [graph.ops[i] for i in graph.consumers.get(index, ())]
    while len(readers) == 1 and readers[0].kind is OpKind.RESHAPE:
        readers = [graph.ops[i] for i in graph.consumers.get(readers[0].outputs[0], ())]
    return bool(readers) and all(op.kind is OpKind.SOFTMAX for op in readers)


def _match(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[int, int]]:
    """Return the places of equal keys, in order."""
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    return [(a + i, b + i) for a, b, size in blocks for i in range(size)]


def _fill_gaps(
    places: Sequence[tuple[int, int]], first: Sequence[Any], second: Sequence[Any]
) -> list[tuple[int, int]]:
    """Match by looser keys what lies between two matches."""
    edges = [(-1, -1), *places, (len(first), len(second))]
    found = list[tuple[int, int]]()
    for (a, b), (c, d) in pairwise(edges):
        inner = _match(first[a + 1 : c], second[b + 1 : d])
        found += [(a + 1 + i, b + 1 + j) for i, j in inner]
        found.append((c, d))
    return found[:-1]


def _connect(
    graphs: tuple[Graph, Graph], matches: Sequence[tuple[Side, Side]], accept: Accept | None
) -> tuple[Pair, ...]:
    """Keep the matches that read the same things."""
    known = {graphs[1].inputs[0]: graphs[0].inputs[0]}
    pairs = []
    for before, after in matches:
        inputs = _match_inputs(graphs, (before.op, after.op), known)
        if inputs is None:
            continue
        pair = Pair(before=before, after=after, inputs=inputs)
        if accept and not accept(pair):
            continue
        known[after.output] = before.output
        pairs.append(pair)
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
        shapes = graphs[0].tensors[mine].shape[1:], graphs[1].tensors[tensor].shape[1:]
        if len(shapes[0]) != len(shapes[1]) or shapes[0][:-1] != shapes[1][:-1]:
            return None
        found[tensor] = mine
    return found


def _check_enough(before: Graph, after: Graph, pairs: Sequence[Pair]) -> None:
    wanted = sum(op.kind in WEIGHTED for op in before.ops)
    paired = sum(pair.before.op.kind in WEIGHTED for pair in pairs)
    if paired >= _LEAST_PAIRED * wanted and paired:
        return
    others = sum(op.kind in WEIGHTED for op in after.ops)
    raise InvalidModelError(
        "the layers of the two files do not pair, so nothing can be said of them",
        received=f"{paired} of {wanted} float layers found among {others} quantized ones",
        remedy="give the float file that the quantized one was made from",
    )
