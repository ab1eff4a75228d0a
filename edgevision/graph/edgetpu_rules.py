"""What the Edge TPU takes of a network: its published rules, as a table of pure functions.

The list of operations and their limits is that of https://coral.ai/docs/edgetpu/models-intro
("Supported operations"). Google's compiler also refuses operations that the list allows, for
reasons it does not tell: what these rules let pass is likely to run there, not certain to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from edgevision.graph.graph import Graph, Op, Tensor

Rule = Callable[[Graph, Op], str]
"""Tells why an operation is not taken; empty where it is."""

BEHIND = "behind an operation that stays on the CPU"

_MAX_SOFTMAX = 16_000
# The one bilinear enlargement that a compiled DeepLab left behind while its input was mapped is by
# 33; where exactly the limit lies is not published.
_MAX_ENLARGEMENT = 8
# Outputs of 5.5 MB (that DeepLab) and of 8.4 MB were left behind, the latter with an enlargement by
# 2 only; https://github.com/google-coral/edgetpu/issues/31.
_MAX_RESIZED_BYTES = 5_500_000
# 256 x 128 positions were left behind, 64 x 128 taken;
# https://github.com/google-coral/edgetpu/issues/461.
_MAX_MEAN_POSITIONS = 256 * 128
_BYTES = ("int8", "uint8")
_LSTM_STATES = ("int8", "uint8", "int16")
_LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An operation that stays on the CPU.

    Attributes:
        op: The operation.
        reason: Why; ``BEHIND`` where another one is the cause.
    """

    op: Op
    reason: str

    @property
    def is_cause(self) -> bool:
        """Whether the operation itself can not run there."""
        return self.reason != BEHIND


def find_refusals(graph: Graph) -> list[Refusal]:
    """List what would stay on the CPU, in order of execution.

    One part of the network is mapped: the first operations that can be, with all that needs
    nothing but their results, constants and what comes before them. The rest stays on the CPU,
    able or not; the compiler says "More than one subgraph is not supported" of it.
    """
    reasons = [give_edgetpu_reason(graph, op) for op in graph.ops]
    part = _choose_part(graph, [not reason for reason in reasons])
    found = list[Refusal]()
    left = set[int]()
    for op, reason in zip(graph.ops, reasons, strict=True):
        if op.index in part:
            continue
        # Floats behind an operation that stays are no cause of their own.
        follows = bool(left.intersection(op.inputs)) and reason == _need_bytes(graph, op)
        found.append(Refusal(op=op, reason=BEHIND if follows or not reason else reason))
        left.update(op.outputs)
    return found


def _choose_part(graph: Graph, able: Sequence[bool]) -> set[int]:
    """Choose the operations that are mapped, in the way in which TFLite cuts a graph for delegates.

    Where the first operation can not be mapped, everything comes before the part that is ready
    and can not be mapped either; a QUANTIZE of float inputs is the usual case.

    Args:
        graph: The network.
        able: Whether the Edge TPU takes each operation.
    """
    done = set[int]()
    if graph.ops and not able[0]:
        done = _collect_ready(graph, [not fits for fits in able], done)
    return _collect_ready(graph, able, done)


def _collect_ready(graph: Graph, wanted: Sequence[bool], done: set[int]) -> set[int]:
    """Collect wanted operations that need only each other and what is done; files are in order."""
    found = set[int]()
    for op in graph.ops:
        needs = {graph.producers.get(i, -1) for i in op.inputs} - {-1, op.index}
        if wanted[op.index] and needs <= done | found:
            found.add(op.index)
    return found


def give_edgetpu_reason(graph: Graph, op: Op) -> str:
    """Say why the Edge TPU does not take an operation, wherever it stands; empty if it does."""
    if op.name not in RULES:
        return "the Edge TPU has no such operation"
    rules = (_need_static_shapes, _need_bytes, _need_three_dimensions, *RULES[op.name])
    return next((reason for rule in rules if (reason := rule(graph, op))), "")


def _list_flowing(graph: Graph, op: Op) -> list[Tensor]:
    return [t for t in (*graph.op_inputs(op), *graph.op_outputs(op)) if not t.constant]


def _need_static_shapes(graph: Graph, op: Op) -> str:
    return "" if all(t.static for t in _list_flowing(graph, op)) else "a shape is not fixed"


def _need_bytes(graph: Graph, op: Op) -> str:
    allowed = _LSTM_STATES if op.name == _LSTM else _BYTES
    odd = sorted({t.dtype for t in _list_flowing(graph, op)}.difference(allowed))
    return f"it computes on {', '.join(odd)}, not on 8-bit integers" if odd else ""


def _need_three_dimensions(graph: Graph, op: Op) -> str:
    wide = [t for t in _list_flowing(graph, op) if any(d > 1 for d in t.shape[:-3])]
    return f"more than its 3 innermost dimensions exceed 1: {list(wide[0].shape)}" if wide else ""


def _need_constants(graph: Graph, op: Op) -> str:
    image = 2 if op.name == "TRANSPOSE_CONV" else 0
    parameters = [i for at, i in enumerate(op.inputs) if at != image and i >= 0]
    fixed = all(graph.tensors[i].constant for i in parameters)
    return "" if fixed else "its weights are no constants"


def _need_equal_dilations(_graph: Graph, op: Op) -> str:
    dilations = op.attributes.get("dilations", (1, 1))
    return "" if len(set(dilations)) == 1 else f"its dilations differ: {list(dilations)}"


def _forbid_activation(_graph: Graph, op: Op) -> str:
    fused = op.attributes.get("activation")
    return f"it has {fused} fused into it" if fused else ""


def _need_flat_output(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.outputs[0]].shape
    return f"its output is not one-dimensional: {list(shape)}" if _is_deep(shape) else ""


def _need_default_weights(_graph: Graph, op: Op) -> str:
    return "its weights are shuffled" if op.attributes.get("weights_format") else ""


def _limit_softmax(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[0]].shape
    if _is_deep(shape):
        return f"its input is not one-dimensional: {list(shape)}"
    too_many = bool(shape) and shape[-1] > _MAX_SOFTMAX
    return f"it has {shape[-1]} values, more than {_MAX_SOFTMAX}" if too_many else ""


def _limit_enlargement(graph: Graph, op: Op) -> str:
    before, after = (graph.tensors[i].shape for i in (op.inputs[0], op.outputs[0]))
    if len(before) != 4 or len(after) != 4:
        return "its input has no height and width"
    factor = max(after[i] / max(before[i], 1) for i in (1, 2))
    if prod(after) > _MAX_RESIZED_BYTES:
        return f"its output of {prod(after) / 1e6:.1f} MB is larger than the compiler takes"
    if factor <= _MAX_ENLARGEMENT:
        return ""
    return f"it enlarges by {factor:.0f}, more than the compiler takes without loss of precision"


def _keep_batch(key: str) -> Rule:
    """Refuse what works along the batch.

    Args:
        key: The attribute that names the axes.
    """

    def check(graph: Graph, op: Op) -> str:
        axes = _read_axes(graph, op, key)
        if axes is None:
            return "its axes are no constants"
        return "it works along the batch" if 0 in axes else ""

    return check


def _limit_mean_positions(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[0]].shape
    axes = _read_axes(graph, op, "axes") or ()
    positions = prod(shape[axis] for axis in axes if axis < len(shape) - 1)
    if positions < _MAX_MEAN_POSITIONS:
        return ""
    return f"it is a mean over {positions} positions, more than the compiler takes"


def _limit_channel_mean(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[0]].shape
    axes = _read_axes(graph, op, "axes") or ()
    if len(shape) - 1 not in axes or shape[-1] % 4 == 0:
        return ""
    return f"it is a mean over {shape[-1]} channels, no multiple of 4"


def _need_zero_constants(graph: Graph, op: Op) -> str:
    fixed = [t for t in graph.op_inputs(op) if t.constant]
    zero = [t for t in fixed if t.data is not None and not t.data.any()]
    if not fixed or (len(op.inputs) == 2 and len(zero) == len(fixed)):
        return ""
    return "it joins constants that are not zero"


def _keep_batch_unpadded(_graph: Graph, op: Op) -> str:
    paddings = op.attributes.get("paddings")
    return "it pads the batch" if paddings and any(paddings[:2]) else ""


def _need_single_strides(_graph: Graph, op: Op) -> str:
    strides = op.attributes.get("strides")
    if strides is None or any(s != 1 for s in strides):
        return "its strides are not 1"
    masked = op.attributes.get("ellipsis_mask") or op.attributes.get("new_axis_mask")
    return "it inserts axes" if masked else ""


def _need_leading_ones(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[0]].shape
    axes = sorted(a % len(shape) for a in op.attributes.get("axes", ()))
    axes = axes or [i for i, d in enumerate(shape) if d == 1]
    return "" if axes == list(range(len(axes))) else f"it drops other than leading axes: {axes}"


def _need_channel_slopes(graph: Graph, op: Op) -> str:
    shape = graph.tensors[op.inputs[1]].shape
    return f"its slopes are not one-dimensional: {list(shape)}" if _is_deep(shape) else ""


def _is_deep(shape: tuple[int, ...]) -> bool:
    return any(d > 1 for d in shape[:-1])


def _read_axes(graph: Graph, op: Op, key: str) -> tuple[int, ...] | None:
    """Return axes that count from the front, of the operation's widest input."""
    found = op.attributes.get(key)
    if found is None:
        return None
    axes = found if isinstance(found, tuple) else (found,)
    rank = max(len(t.shape) for t in graph.op_inputs(op))
    return tuple(axis % max(rank, 1) for axis in axes)


_ANYTHING = (
    "ADD DEPTH_TO_SPACE EXPAND_DIMS L2_NORMALIZATION LOGISTIC MAXIMUM MINIMUM MUL QUANTIZE RELU "
    "RELU6 RELU_N1_TO_1 RESHAPE RSQRT SLICE SPACE_TO_DEPTH SQUARED_DIFFERENCE SUB TANH TRANSPOSE "
    "UNIDIRECTIONAL_SEQUENCE_LSTM"
)
_CONVOLUTION: tuple[Rule, ...] = (_need_constants, _need_equal_dilations)

# Name of the operation -> its limits beside those of all.
RULES: Mapping[str, tuple[Rule, ...]] = {
    **dict.fromkeys(_ANYTHING.split(), ()),
    "AVERAGE_POOL_2D": (_forbid_activation,),
    "CONCATENATION": (_forbid_activation, _need_zero_constants),
    "CONV_2D": _CONVOLUTION,
    "DEPTHWISE_CONV_2D": _CONVOLUTION,
    "FULLY_CONNECTED": (_need_constants, _need_default_weights, _need_flat_output),
    "MAX_POOL_2D": (_forbid_activation,),
    "MEAN": (_keep_batch("axes"), _limit_channel_mean, _limit_mean_positions),
    "PACK": (_keep_batch("axis"),),
    "PAD": (_keep_batch_unpadded,),
    "PRELU": (_need_channel_slopes,),
    "REDUCE_MAX": (_keep_batch("axes"),),
    "REDUCE_MIN": (_keep_batch("axes"),),
    "RESIZE_BILINEAR": (_limit_enlargement,),
    "RESIZE_NEAREST_NEIGHBOR": (_limit_enlargement,),
    "SOFTMAX": (_limit_softmax,),
    "SPLIT": (_keep_batch("axis"),),
    "SQUEEZE": (_need_leading_ones,),
    "STRIDED_SLICE": (_need_single_strides,),
    "SUM": (_keep_batch("axes"),),
    # Fused activations of it are younger than the compiler.
    "TRANSPOSE_CONV": (_forbid_activation, _need_constants),
}
