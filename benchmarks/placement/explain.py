"""``explain``: which operation runs on which device, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.benchmarks.placement.cpu import PLAIN_CPU, XNNPACK, give_reason
from edgevision.errors import DelegateError, UnsupportedOpError
from edgevision.graph.edgetpu_package import EdgeTpuPackage
from edgevision.graph.graph import Graph, Op
from edgevision.graph.reader import read_graph
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
        packages: Of a file compiled for the Edge TPU: what each compiled operation holds.
    """

    file: str
    device: Device
    partitions: int
    ops: tuple[OpPlacement, ...]
    notes: tuple[str, ...] = ()
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
            "packages": [package.to_dict() for package in self.packages],
        }


def explain(path: str | Path, *, device: Device | str = Device.CPU) -> Explanation:
    """Load a file as ``device`` would and tell where each of its operations runs.

    Args:
        path: A ``.tflite`` file.
        device: ``cpu`` asks the interpreter what XNNPACK took; ``edgetpu`` reads a compiled file,
            or predicts what the compiler would map.

    Raises:
        InvalidConfigError: There is no such device.
        DelegateError: ``device`` is the GPU, whose placement is not explained yet.
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
    if chosen is Device.EDGETPU:
        from edgevision.benchmarks.placement.edgetpu import explain_edgetpu

        return explain_edgetpu(path, graph)
    if chosen is not Device.CPU:
        raise DelegateError(
            "placement on this device is not explained by this version",
            device=chosen,
            remedy="--device cpu tells what XNNPACK takes",
        )
    return _explain_cpu(path, graph)


def _explain_cpu(path: str | Path, graph: Graph) -> Explanation:
    session = open_session(path, device=Device.CPU)
    placement = session.placement()
    session.close()
    rows = tuple(
        _place_op(graph, op, partition)
        for op, partition in zip(graph.ops, placement.partition_of, strict=True)
    )
    notes = (placement.note,) if placement.note else ()
    return Explanation(
        file=str(path), device=Device.CPU, partitions=placement.partitions, ops=rows, notes=notes
    )


def _place_op(graph: Graph, op: Op, partition: int) -> OpPlacement:
    output = next(graph.op_outputs(op), None)
    delegated = partition >= 0
    return OpPlacement(
        index=op.index,
        op=op.name,
        name=output.name if output else op.label,
        placement=XNNPACK if delegated else PLAIN_CPU,
        partition=partition if delegated else None,
        reason="" if delegated else give_reason(graph, op),
    )
