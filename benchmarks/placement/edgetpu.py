"""Edge TPU placement: predicted by the published rules, or read from a compiled file.

Neither device nor compiler is needed. A prediction is "likely" at best: the compiler also refuses
operations for reasons that it does not tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.graph.edgetpu_rules import BEHIND, find_refusals
from edgevision.graph.graph import Graph, Op
from edgevision.graph.tflite_schema import EDGETPU_OP

COMPILED_OP = f"CUSTOM:{EDGETPU_OP}"
LEFT_BY_COMPILER = "the compiler left it on the CPU"
NOT_QUANTIZED = (
    "the Edge TPU computes on 8-bit integers only: quantize the float file with --scheme edgetpu"
)
PREDICTED = (
    "predicted by the published rules; only Google's compiler knows, and it refuses some "
    "operations for reasons that it does not tell"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTpuPlacement:
    """Where each operation of a file runs with an Edge TPU.

    Attributes:
        reasons: For each operation why it stays on the CPU; empty where the Edge TPU takes it.
        compiled: Whether the file comes from the compiler, so that nothing is predicted.
        notes: What a reader must know.
    """

    reasons: tuple[str, ...]
    compiled: bool
    notes: tuple[str, ...]

    @property
    def partitions(self) -> int:
        """Number of calls of the device."""
        return len([r for r in self.reasons if not r]) if self.compiled else int("" in self.reasons)


def place_ops(graph: Graph) -> EdgeTpuPlacement:
    """Tell which operations the Edge TPU takes.

    Args:
        graph: Of a ``.tflite`` file, compiled for the Edge TPU or not.
    """
    compiled = any(op.name == COMPILED_OP for op in graph.ops)
    refusals = {refusal.op.index: refusal.reason for refusal in find_refusals(graph)}
    if compiled:
        reasons = tuple(_explain_left(op, refusals) for op in graph.ops)
        return EdgeTpuPlacement(reasons=reasons, compiled=True, notes=_describe_compiled(graph))
    reasons = tuple(refusals.get(op.index, "") for op in graph.ops)
    notes = (PREDICTED,) if _is_quantized(graph) else (NOT_QUANTIZED,)
    return EdgeTpuPlacement(reasons=reasons, compiled=False, notes=notes)


def _explain_left(op: Op, refusals: dict[int, str]) -> str:
    if op.name == COMPILED_OP:
        return ""
    reason = refusals.get(op.index, "")
    # Everything in a compiled file stands behind the one operation that is the device's.
    return LEFT_BY_COMPILER if reason in ("", BEHIND) else f"{LEFT_BY_COMPILER}: {reason}"


def _describe_compiled(graph: Graph) -> tuple[str, ...]:
    packages = [op for op in graph.ops if op.name == COMPILED_OP]
    sizes = [len(op.attributes.get("custom_options") or b"") for op in packages]
    return (f"compiled for the Edge TPU: its program and weights are {sum(sizes):,} bytes",)


def _is_quantized(graph: Graph) -> bool:
    written = (graph.tensors[i] for op in graph.ops for i in op.outputs if i >= 0)
    return any(t.dtype in ("int8", "uint8") for t in written)
