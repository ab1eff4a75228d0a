"""Edge TPU placement: what Google's compiler would map, and what a compiled file really maps.

A prediction follows the published rules (``graph/edgetpu_rules.py``). The compiler also refuses
operations for reasons that it does not publish, so each row says likely or unlikely.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

from edgevision.benchmarks.placement.edgetpu_latency import estimate_latency
from edgevision.benchmarks.placement.explain import Explanation, OpPlacement, place_op
from edgevision.errors import InvalidModelError
from edgevision.graph.edgetpu_package import COMPILED_OP, EdgeTpuPackage, read_packages
from edgevision.graph.edgetpu_rules import find_refusals
from edgevision.graph.graph import Graph
from edgevision.specs import Device
from edgevision.units import format_bytes

_PREDICTION = (
    "a prediction from the published rules: the compiler also refuses operations for reasons "
    "that it does not publish"
)
_FLOAT = (
    "the file is not quantized, and the Edge TPU computes on 8-bit integers only: "
    "edgevision quantize --scheme edgetpu"
)
_LEFT = "the compiler left it on the CPU"
_COMPILED = "this file is compiled: what it shows is fact, not prediction"


def explain_edgetpu(path: str | Path, graph: Graph) -> Explanation:
    """Tell what of a file runs on the Edge TPU; neither device nor compiler is needed.

    Args:
        path: The file, for the result's heading.
        graph: What was read from it; compiled by Google's compiler or not.

    Returns:
        For a compiled file what it holds; otherwise a prediction with a reason for each operation
        that would stay on the CPU.
    """
    if any(op.name == COMPILED_OP for op in graph.ops):
        return _explain_compiled(path, graph)
    rows = _predict(graph)
    partitions = int(any(row.partition is not None for row in rows))
    # Nothing of a float file is mapped: its latency would be that of another one.
    estimate = estimate_latency(graph) if partitions else None
    return Explanation(
        file=str(path),
        device=Device.EDGETPU,
        partitions=partitions,
        ops=rows,
        notes=(*_note_prediction(graph), *([str(estimate)] if estimate else [])),
        estimate=estimate,
    )


def _explain_compiled(path: str | Path, graph: Graph) -> Explanation:
    notes = [_COMPILED]
    packages: tuple[EdgeTpuPackage, ...] = ()
    try:
        packages = read_packages(graph)
    except InvalidModelError as error:
        notes.append(f"cached and streamed bytes are unknown: {error}")
    notes += [_describe_package(package) for package in packages]
    return Explanation(
        file=str(path),
        device=Device.EDGETPU,
        partitions=sum(op.name == COMPILED_OP for op in graph.ops),
        ops=_read_compiled(graph),
        notes=tuple(notes),
        packages=packages,
    )


def _describe_package(package: EdgeTpuPackage) -> str:
    return (
        f"parameters: {format_bytes(package.cached_bytes)} cached on the chip, "
        f"{format_bytes(package.streamed_bytes)} streamed for every image; "
        f"programs: {format_bytes(package.instruction_bytes)}; "
        f"needs runtime {package.min_runtime} or later"
    )


def _note_prediction(graph: Graph) -> tuple[str, ...]:
    quantized = any(tensor.dtype in ("int8", "uint8") for tensor in graph.tensors)
    return (_PREDICTION,) if quantized else (_FLOAT,)


def _predict(graph: Graph) -> tuple[OpPlacement, ...]:
    reasons = {refusal.op.index: refusal.reason for refusal in find_refusals(graph)}
    return tuple(
        place_op(
            graph,
            op,
            str(Device.EDGETPU),
            partition=None if op.index in reasons else 0,
            reason=reasons.get(op.index, ""),
            confidence="unlikely" if op.index in reasons else "likely",
        )
        for op in graph.ops
    )


def _read_compiled(graph: Graph) -> tuple[OpPlacement, ...]:
    numbers = count()
    return tuple(
        place_op(graph, op, str(Device.EDGETPU), partition=next(numbers))
        if op.name == COMPILED_OP
        else place_op(graph, op, str(Device.EDGETPU), partition=None, reason=_LEFT)
        for op in graph.ops
    )
