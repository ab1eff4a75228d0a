"""``explain``: which operation runs on which device, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgevision.benchmarks.placement.cpu import PLAIN_CPU, XNNPACK, give_reason
from edgevision.benchmarks.placement.edgetpu_compiler import (
    CompilerLog,
    MappedCount,
    compile_file,
    count_mapped,
)
from edgevision.benchmarks.placement.edgetpu_latency import Estimate
from edgevision.errors import UnsupportedOpError
from edgevision.graph.edgetpu_package import EdgeTpuPackage
from edgevision.graph.graph import Graph, Op
from edgevision.graph.reader import read_graph
from edgevision.runtime.session import Adapter
from edgevision.runtime.sessions import open_session
from edgevision.specs import Device, ModelFormat, parse_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class OpPlacement:
    """Where one operation runs.

    Attributes:
        index: Position in the file's main subgraph.
        op: The format's name of the operation, ``CONV_2D`` for one.
        name: Name of its first output tensor, which usually holds the layer's name.
        placement: The delegate, or ``cpu`` for the interpreter's own kernels.
        partition: Number of the partition it belongs to, otherwise ``None``.
        reason: Why it was left behind, empty for a delegated one.
        confidence: Where the placement is predicted: whether it is ``likely`` or ``unlikely``
            that the operation runs on the device; otherwise empty.
    """

    index: int
    op: str
    name: str
    placement: str
    partition: int | None = None
    reason: str = ""
    confidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Placement of every operation of a file on one device.

    Attributes:
        file: The model.
        device: The device that was asked about.
        partitions: Number of delegate calls.
        ops: One row per operation, in execution order.
        notes: What a reader must know.
        adapter: The GPU that was asked; ``None`` for other devices.
        estimate: Of the Edge TPU, how long an inference would take; ``None`` where the file does
            not tell.
        compiler: What the Edge TPU's compiler printed, where it was asked.
        mapped: By kind of operation, what it took beside what was predicted.
        packages: Of a file compiled for the Edge TPU: what each compiled operation holds.
    """

    file: str
    device: Device
    partitions: int
    ops: tuple[OpPlacement, ...]
    notes: tuple[str, ...] = ()
    adapter: Adapter | None = None
    estimate: Estimate | None = None
    compiler: CompilerLog | None = None
    mapped: tuple[MappedCount, ...] = ()
    packages: tuple[EdgeTpuPackage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "file": self.file,
            "device": str(self.device),
            "ops_total": len(self.ops),
            "ops_delegated": sum(op.placement != PLAIN_CPU for op in self.ops),
            "partitions": self.partitions,
            "ops": [
                {
                    "index": op.index,
                    "op": op.op,
                    "name": op.name,
                    "placement": op.placement,
                    "partition": op.partition,
                    "reason": op.reason,
                    "confidence": op.confidence,
                }
                for op in self.ops
            ],
            "notes": list(self.notes),
            "adapter": self.adapter.to_dict() if self.adapter else None,
            "packages": [package.to_dict() for package in self.packages],
            "compiler": self.compiler.to_dict() if self.compiler else None,
            "mapped": [count.to_dict() for count in self.mapped],
            "estimate_ms": self.estimate.to_dict() if self.estimate else None,
        }


def explain_compiled(path: str | Path, output: str | Path) -> Explanation:
    """Compile a file for the Edge TPU and tell what the compiler made of each operation.

    Args:
        path: A quantized ``.tflite`` file that is not compiled yet.
        output: Where the compiled file goes.

    Raises:
        DelegateError: The compiler is not installed.
        InvalidConfigError: The file is compiled already.
        InvalidModelError: It refuses the file.
        OutputError: ``output`` can not be written.
    """
    predicted = explain(path, device=Device.EDGETPU)
    source = read_graph(path)  # before it is written over, where it is the output as well
    log = compile_file(path, output)
    real = explain(output, device=Device.EDGETPU)
    guessed, left = (sum(op.placement == PLAIN_CPU for op in e.ops) for e in (predicted, real))
    notes = [f"the rules predicted {guessed} operations on the CPU, the compiler left {left}"]
    if log.streamed_bytes:
        notes.append(f"{log.streamed_bytes:,} bytes of weights are streamed at every inference")
    return replace(
        real,
        notes=(*real.notes, *notes),
        compiler=log,
        mapped=count_mapped(source, read_graph(output), log),
        estimate=predicted.estimate,
    )


def explain(
    path: str | Path, *, device: Device | str = Device.CPU, gpu_float32: bool = False
) -> Explanation:
    """Load a file as ``device`` would and tell where each of its operations runs.

    Args:
        path: A ``.tflite`` file.
        device: ``cpu`` asks the interpreter what XNNPACK took, ``gpu`` the GPU accelerator;
            ``edgetpu`` predicts by the published rules, or reads a compiled file, without device.
        gpu_float32: Whether the GPU computes in float32 where it would take float16.

    Raises:
        InvalidConfigError: There is no such device.
        DelegateError: There is no GPU, or it runs nothing of this model.
        UnsupportedOpError: The file is no ``.tflite``.
        InvalidModelError: The file is damaged, or the interpreter refuses it.
    """
    chosen = parse_choice(Device, device, "device")
    graph = read_graph(path)
    if graph.format is not ModelFormat.TFLITE:
        raise UnsupportedOpError(
            "placement is explained for .tflite files",
            received=path,
            remedy="convert it with `edgevision convert`",
        )
    if chosen is Device.GPU:
        return _explain_gpu(path, graph, gpu_float32)
    if chosen is Device.EDGETPU:
        from edgevision.benchmarks.placement.edgetpu import explain_edgetpu

        return explain_edgetpu(path, graph)
    return _explain_cpu(path, graph)


def _explain_cpu(path: str | Path, graph: Graph) -> Explanation:
    session = open_session(path, device=Device.CPU)
    placement = session.placement()
    session.close()
    return Explanation(
        file=str(path),
        device=Device.CPU,
        partitions=placement.partitions,
        ops=place_on_cpu(graph, placement.partition_of),
        notes=(placement.note,) if placement.note else (),
    )


def _explain_gpu(path: str | Path, graph: Graph, float32: bool) -> Explanation:
    from edgevision.benchmarks.placement.gpu import place_ops

    placed = place_ops(path, float32=float32)
    report, adapter = placed.report, placed.report.adapter
    notes = [f"{adapter.name} ({adapter.kind}, {adapter.api}) computes in {adapter.precision}"]
    if not placed.certain:
        notes.append(
            f"the GPU says that it took {report.delegated_ops} of {report.total_ops} operations; "
            "which ones is inferred, and the numbers differ"
        )
    rows = tuple(
        place_op(graph, op, str(Device.GPU), partition=None if reason else 0, reason=reason)
        for op, reason in zip(graph.ops, placed.reasons, strict=True)
    )
    return Explanation(
        file=str(path),
        device=Device.GPU,
        partitions=1,
        ops=rows,
        notes=tuple(notes),
        adapter=adapter,
    )


def place_op(
    graph: Graph,
    op: Op,
    device: str,
    *,
    partition: int | None,
    reason: str = "",
    confidence: str = "",
) -> OpPlacement:
    """Return the row of one operation.

    Args:
        graph: The network.
        op: The operation.
        device: Who would take it.
        partition: Of the device's call, or ``None`` where the operation stays on the CPU.
        reason: Why it stays.
        confidence: Of a prediction.
    """
    output = next(graph.op_outputs(op), None)
    return OpPlacement(
        index=op.index,
        op=op.name,
        name=output.name if output else op.label,
        placement=PLAIN_CPU if partition is None else device,
        partition=partition,
        reason=reason,
        confidence=confidence,
    )


def place_on_cpu(graph: Graph, partition_of: Sequence[int]) -> tuple[OpPlacement, ...]:
    """Tell what XNNPACK took, with the reason for each operation that it left.

    Args:
        graph: The network.
        partition_of: For each operation the call of XNNPACK that it is part of, or -1.
    """
    return tuple(
        place_op(graph, op, XNNPACK, partition=None, reason=give_reason(graph, op))
        if partition < 0
        else place_op(graph, op, XNNPACK, partition=partition)
        for op, partition in zip(graph.ops, partition_of, strict=True)
    )
