"""CPU placement: what XNNPACK takes, and the reason for each operation that it leaves."""

from __future__ import annotations

from collections.abc import Callable

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind

XNNPACK = "xnnpack"
PLAIN_CPU = "cpu"


def _is_custom(_graph: Graph, op: Op) -> bool:
    return op.kind in (OpKind.CUSTOM, OpKind.DETECTION_POSTPROCESS) or op.name.startswith("CUSTOM:")


def _has_activation_dtype(*dtypes: str) -> Callable[[Graph, Op], bool]:
    def check(graph: Graph, op: Op) -> bool:
        flowing = [t for t in (*graph.op_inputs(op), *graph.op_outputs(op)) if not t.constant]
        return any(t.dtype in dtypes for t in flowing)

    return check


def _is_quantized(name: str) -> Callable[[Graph, Op], bool]:
    quantized = _has_activation_dtype("int8", "uint8")
    return lambda graph, op: op.name == name and quantized(graph, op)


def _is_dynamic(graph: Graph, op: Op) -> bool:
    return not all(t.static for t in (*graph.op_inputs(op), *graph.op_outputs(op)))


# First rule that applies wins; each row: when, why, what to do.
RULES: tuple[tuple[Callable[[Graph, Op], bool], str, str], ...] = (
    (_is_custom, "a custom op; XNNPACK takes built-in ops only", ""),
    (
        lambda _graph, op: op.kind is OpKind.CONTROL_FLOW,
        "control flow runs in the interpreter",
        "",
    ),
    (_is_dynamic, "a shape that is not known before the run", "convert with a fixed input size"),
    (
        _is_quantized("HARD_SWISH"),
        "XNNPACK has no integer HARD_SWISH",
        "quantize the float file with `edgevision quantize`, which writes it as operations that "
        "XNNPACK takes",
    ),
    (
        _is_quantized("SOFTMAX"),
        "XNNPACK has no integer SOFTMAX",
        "behind the network it costs next to nothing",
    ),
    (
        _has_activation_dtype("int16"),
        "XNNPACK has no int16 activations",
        "--scheme int8 where speed matters",
    ),
    (
        _has_activation_dtype("int32", "int64", "bool", "string"),
        "XNNPACK computes on float and 8-bit values only",
        "",
    ),
)


def give_reason(graph: Graph, op: Op) -> str:
    """Say why XNNPACK left an operation to the interpreter's own kernels.

    The rules name the known causes; an operation that none of them explains is said to be refused
    by name and element type, which is what is known then.
    """
    for applies, reason, remedy in RULES:
        if applies(graph, op):
            return f"{reason}: {remedy}" if remedy else reason
    dtypes = sorted({t.dtype for t in graph.op_inputs(op)})
    return f"XNNPACK refused {op.name} on {', '.join(dtypes)} with these shapes or attributes"
