"""Peak activation memory: the arena in which a planner places what a network computes.

TFLite and TFLite Micro both place buffers from the largest to the smallest, after Pisarchyk and
Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020
(https://arxiv.org/abs/2001.03288), section 4.3, and differ in the details that ``Planner`` names.
Not part of it: scratch memory inside kernels (such as the unrolled patches of a convolution
without XNNPACK), weights unpacked at load time, and the book-keeping of the interpreter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any

from edgevision.benchmarks.arena import Span, find_lower_bound, place_best_fit, place_first_fit
from edgevision.errors import InvalidConfigError
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """How an interpreter lays out its arena.

    Attributes:
        name: Whose planner it is.
        alignment_bytes: Every offset is a multiple of it.
        share_reshapes: Whether the result of a reshape lies where its input does.
        keep_inputs: Whether the network's inputs are never overwritten.
        best_fit: Whether a buffer goes into the smallest gap that fits, and buffers of equal size
            are tried in both orders; otherwise into the first gap, buffers of equal size from the
            last tensor of the file to the first, and sizes count as multiples of the alignment.

    Raises:
        InvalidConfigError: The alignment is below 1.
    """

    name: str
    alignment_bytes: int
    share_reshapes: bool = False
    keep_inputs: bool = False
    best_fit: bool = False

    def __post_init__(self) -> None:
        if self.alignment_bytes < 1:
            raise InvalidConfigError(
                "the alignment must be at least 1",
                received=f"alignment_bytes={self.alignment_bytes}",
            )


TFLITE = Planner(
    name="tflite", alignment_bytes=64, share_reshapes=True, keep_inputs=True, best_fit=True
)
"""LiteRT's and TFLite's arena where no delegate takes operations away."""

TFLITE_MICRO = Planner(name="tflite_micro", alignment_bytes=16)
"""TFLite Micro's greedy planner: what a microcontroller's arena holds."""

PLANNERS = (TFLITE_MICRO, TFLITE)

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
        planner: Whose plan it is.
    """

    buffers: tuple[Buffer, ...]
    peak_bytes: int
    lower_bound_bytes: int
    planner: Planner


def plan_memory(graph: Graph, planner: Planner = TFLITE_MICRO) -> MemoryPlan:
    """Place the activations of a graph in one arena, at batch 1.

    In a network or Keras model, what converters fold into a convolution (BatchNorm, ReLU, ReLU6,
    a padding that amounts to SAME) takes no memory: the answer is that of the deployed file.

    Args:
        graph: From any reader.
        planner: Whose plan.
    """
    spans = _find_lifetimes(graph, planner)
    offsets, peak = _place(spans, len(graph.ops), planner)
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
        lower_bound_bytes=find_lower_bound(spans, len(graph.ops)),
        planner=planner,
    )


def measure_memory(graph: Graph, planner: Planner = TFLITE_MICRO) -> tuple[int, int]:
    """Return peak and lower bound of ``plan_memory``, in bytes, without the plan."""
    spans = _find_lifetimes(graph, planner)
    _, peak = _place(spans, len(graph.ops), planner)
    return peak, find_lower_bound(spans, len(graph.ops))


def _place(spans: list[Span], num_ops: int, planner: Planner) -> tuple[list[int], int]:
    place = place_best_fit if planner.best_fit else place_first_fit
    return place(spans, num_ops, planner.alignment_bytes)


def _find_lifetimes(graph: Graph, planner: Planner) -> list[Span]:
    """Return one span per buffer, in the order of first use."""
    end = max(len(graph.ops) - 1, 0)
    tensors = graph.tensors
    constants = find_constants(graph)
    shared = _find_shared(graph, share_reshapes=planner.share_reshapes)
    owner: dict[int, Span] = {}
    spans = []
    for index in dict.fromkeys(i for i in graph.inputs if i >= 0):
        owner[index] = Span(index, tensors[index].nbytes, 0, 0, [])
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
                owner[index] = Span(index, tensors[index].nbytes, op.index, op.index, [])
                spans.append(owner[index])
    for index in (*graph.outputs, *(graph.inputs if planner.keep_inputs else ())):
        if index in owner:
            owner[index].last = end
    return [span for span in spans if span.num_bytes > 0]


def find_constants(graph: Graph) -> set[int]:
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
