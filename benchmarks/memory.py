"""Peak activation memory: the smallest arena that a greedy-by-size planner reaches.

Follows Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020
(https://arxiv.org/abs/2001.03288), section 4.3, as the planners of TFLite and TFLite Micro do:
buffers are placed from the largest to the smallest, each into the smallest gap that fits among
the buffers alive at the same time; buffers of equal size in the order of their use, and once more
in the reverse order where that may help. Not part of it: scratch memory inside kernels (such as
the unrolled patches of a convolution without XNNPACK) and weights unpacked at load time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat

TFLITE_ALIGNMENT = 64

# What converters fold into the convolution, product or sum before it.
_FUSING = frozenset(
    {
        OpKind.CONV_2D,
        OpKind.DEPTHWISE_CONV_2D,
        OpKind.TRANSPOSE_CONV_2D,
        OpKind.FULLY_CONNECTED,
        OpKind.ADD,
        OpKind.SUB,
        OpKind.MUL,
    }
)
_FUSED_FUNCTIONS = frozenset({"relu", "relu6", "relu_n1_to_1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """One piece of the arena.

    Attributes:
        tensor: Index of the tensor that is written there first.
        shared: Further tensors in the same bytes (results of reshapes).
        offset: Where it starts, in bytes.
        num_bytes: Its size, without alignment.
        first: Index of the operation that writes it; 0 for an input of the network.
        last: Index of the last operation that needs it.
    """

    tensor: int
    shared: tuple[int, ...]
    offset: int
    num_bytes: int
    first: int
    last: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Where every activation of a graph lies.

    Attributes:
        buffers: In the order in which they are first written.
        peak_bytes: Size of the arena.
        lower_bound_bytes: The most bytes alive at any one operation: no planner needs less.
        alignment_bytes: Every offset is a multiple of it.
    """

    buffers: tuple[Buffer, ...]
    peak_bytes: int
    lower_bound_bytes: int
    alignment_bytes: int


def plan_memory(
    graph: Graph,
    *,
    alignment_bytes: int = TFLITE_ALIGNMENT,
    share_reshapes: bool = True,
    keep_inputs: bool = False,
) -> MemoryPlan:
    """Place the activations of a graph in one arena, at batch 1.

    In a network or Keras model, what converters fold into a convolution (BatchNorm, ReLU, ReLU6,
    a padding that amounts to SAME) takes no memory: the answer is that of the deployed file.

    Args:
        graph: From any reader.
        alignment_bytes: Of every offset; 64 in TFLite, 16 in TFLite Micro.
        share_reshapes: Whether the result of a reshape lies where its input does, as in TFLite;
            TFLite Micro copies.
        keep_inputs: Whether inputs are never overwritten, as in TFLite; TFLite Micro reuses them.

    Raises:
        InvalidConfigError: ``alignment_bytes`` is below 1.
    """
    if alignment_bytes < 1:
        raise InvalidConfigError(
            "the alignment must be at least 1", received=f"alignment_bytes={alignment_bytes}"
        )
    spans = _find_lifetimes(graph, share_reshapes=share_reshapes, keep_inputs=keep_inputs)
    offsets, peak, bound = _place(spans, len(graph.ops), alignment_bytes)
    buffers = tuple(
        Buffer(
            tensor=span.tensor,
            shared=tuple(span.shared),
            offset=offset,
            num_bytes=span.num_bytes,
            first=span.first,
            last=span.last,
        )
        for span, offset in zip(spans, offsets, strict=True)
    )
    return MemoryPlan(
        buffers=buffers,
        peak_bytes=peak,
        lower_bound_bytes=bound,
        alignment_bytes=alignment_bytes,
    )


def measure_memory(graph: Graph) -> tuple[int, int]:
    """Return peak and lower bound of ``plan_memory(graph)``, in bytes, without the plan."""
    spans = _find_lifetimes(graph, share_reshapes=True, keep_inputs=False)
    _, peak, bound = _place(spans, len(graph.ops), TFLITE_ALIGNMENT)
    return peak, bound


@dataclass(slots=True)
class _Span:
    """A buffer whose lifetime is still being found."""

    tensor: int
    num_bytes: int
    first: int
    last: int
    shared: list[int]


def _find_lifetimes(graph: Graph, *, share_reshapes: bool, keep_inputs: bool) -> list[_Span]:
    """Return one span per buffer, in the order of first use."""
    end = max(len(graph.ops) - 1, 0)
    tensors = graph.tensors
    constants = _find_constants(graph)
    shared = _find_shared(graph, share_reshapes=share_reshapes)
    owner: dict[int, _Span] = {}
    spans = []
    for index in dict.fromkeys(i for i in graph.inputs if i >= 0):
        owner[index] = _Span(index, tensors[index].nbytes, 0, 0, [])
        spans.append(owner[index])
    for op in graph.ops:
        for index in op.inputs:
            if index in owner:
                owner[index].last = op.index
        for index in op.outputs:
            source = shared.get(index, -1)
            if source in owner:
                owner[index] = owner[source]
                owner[index].shared.append(index)
            elif index not in constants and index not in owner:
                owner[index] = _Span(index, tensors[index].nbytes, op.index, op.index, [])
                spans.append(owner[index])
    for index in (*graph.outputs, *(graph.inputs if keep_inputs else ())):
        if index in owner:
            owner[index].last = end
    return [span for span in spans if span.num_bytes > 0]


def _find_constants(graph: Graph) -> set[int]:
    """Return constants and what is computed from constants alone, with -1 for absent tensors."""
    found = {t.index for t in graph.constants}
    found.add(-1)
    for op in graph.ops:
        if op.inputs and found.issuperset(op.inputs):
            found.update(op.outputs)
    return found


def _find_shared(graph: Graph, *, share_reshapes: bool) -> dict[int, int]:
    """Map each tensor that needs no memory of its own to the tensor in whose bytes it lies."""
    tensors = graph.tensors
    found: dict[int, int] = {}
    if share_reshapes:
        for op in graph.ops:
            if op.kind is OpKind.RESHAPE and op.inputs[0] >= 0:
                source, result = op.inputs[0], op.outputs[0]
                if tensors[source].nbytes == tensors[result].nbytes:
                    found[result] = source
    if graph.format in (None, ModelFormat.KERAS, ModelFormat.H5):
        found.update(_find_folded(graph))
    return found


def _find_folded(graph: Graph) -> dict[int, int]:
    """Map the results of what converters fold away to the tensors that stand in for them."""
    num_uses = Counter(chain.from_iterable(op.inputs for op in graph.ops))
    num_uses.update(graph.outputs)
    found: dict[int, int] = {}
    # Results into which a further operation can be folded.
    open_ends: set[int] = set()
    paddings: dict[int, Op] = {}
    for op in graph.ops:
        kind = op.kind
        if kind in _FUSING:
            open_ends.add(op.outputs[0])
            if op.inputs[0] in paddings and _is_same_padding(graph, paddings[op.inputs[0]], op):
                found[op.inputs[0]] = paddings[op.inputs[0]].inputs[0]
        elif kind is OpKind.PAD and num_uses[op.outputs[0]] == 1:
            paddings[op.outputs[0]] = op
        elif kind is OpKind.BATCH_NORM or _is_fused_activation(op):
            source = op.inputs[0]
            if source in open_ends and num_uses[source] == 1:
                found[op.outputs[0]] = source
                open_ends.add(op.outputs[0])
    return found


def _is_fused_activation(op: Op) -> bool:
    return op.kind is OpKind.ACTIVATION and op.attributes.get("activation") in _FUSED_FUNCTIONS


def _is_same_padding(graph: Graph, pad: Op, op: Op) -> bool:
    """Whether a padding and the convolution behind it are one convolution with SAME padding."""
    window = op.attributes
    margins = pad.attributes.get("padding")
    shape = graph.tensors[pad.inputs[0]].shape
    if margins is None or window.get("padding") != "valid" or len(shape) != 4:
        return False
    expected: tuple[int, ...] = ()
    for axis, size in enumerate(shape[1:3]):
        stride = window["strides"][axis]
        reach = (window["kernel"][axis] - 1) * window["dilations"][axis] + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        expected = (*expected, total // 2, total - total // 2)
    return tuple(margins) == expected


def _place(spans: list[_Span], num_ops: int, alignment: int) -> tuple[list[int], int, int]:
    """Return the offset of every span, the peak, and its lower bound."""
    bound = _find_lower_bound(spans, num_ops)
    order = sorted(range(len(spans)), key=lambda i: -spans[i].num_bytes)
    offsets, peak = _place_in_order(spans, order, num_ops, alignment)
    if peak > bound:
        order = sorted(order, key=lambda i: (-spans[i].num_bytes, -i))
        others, other_peak = _place_in_order(spans, order, num_ops, alignment)
        if other_peak < peak:
            offsets, peak = others, other_peak
    return offsets, peak, bound


def _place_in_order(
    spans: list[_Span], order: list[int], num_ops: int, alignment: int
) -> tuple[list[int], int]:
    """Place each span into the smallest gap that fits; return the offsets and the peak."""
    offsets = [0] * len(spans)
    # For each operation, the ranges already taken there: only these can be in the way.
    taken: list[list[tuple[int, int]]] = [[] for _ in range(max(num_ops, 1))]
    peak = 0
    for index in order:
        span = spans[index]
        steps = taken[span.first : span.last + 1]
        offset = _find_gap(sorted(set(chain.from_iterable(steps))), span.num_bytes, alignment)
        stop = offset + span.num_bytes
        for step in steps:
            step.append((offset, stop))
        offsets[index] = offset
        peak = max(peak, stop)
    return offsets, peak


def _find_gap(placed: list[tuple[int, int]], num_bytes: int, alignment: int) -> int:
    """Return the start of the smallest gap between ``placed`` ranges, or the place behind them."""
    best, best_bytes = -1, 0
    cursor = 0
    for start, stop in placed:
        gap = start - cursor
        if gap >= num_bytes and (best < 0 or gap < best_bytes):
            best, best_bytes = cursor, gap
        if stop > cursor:
            cursor = -(-stop // alignment) * alignment
    return cursor if best < 0 else best


def _find_lower_bound(spans: list[_Span], num_ops: int) -> int:
    changes = [0] * (num_ops + 2)
    for span in spans:
        changes[span.first] += span.num_bytes
        changes[span.last + 1] -= span.num_bytes
    return max(accumulate(changes))
