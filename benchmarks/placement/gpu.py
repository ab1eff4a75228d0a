"""GPU placement: what the accelerator took, and the reason for each operation that it left.

The accelerator says how many operations it took and which kinds it refused, in its own words, but
not which ones. Which ones follows from how TensorFlow Lite partitions a graph: operations are
gathered in groups that can run one after the other, and LiteRT gives the accelerator the largest
group that it supports. Where the numbers then differ from what the accelerator said, it is asked
about each operation of the refused kinds alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgevision.errors import EdgeVisionError
from edgevision.graph.flatbuffer import extract_part
from edgevision.graph.graph import Graph, Op
from edgevision.graph.params import find_unpacking
from edgevision.graph.reader import read_graph
from edgevision.runtime.gpu import GpuSession
from edgevision.runtime.gpu_log import GpuReport
from edgevision.runtime.isolate import run_isolated

GPU = "gpu"
_EXPLAIN_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlacement:
    """Which operations of a file run on the GPU.

    Attributes:
        report: What the accelerator said.
        reasons: For each operation, in file order, why it runs on the CPU; empty for one that
            runs on the GPU.
        certain: Whether the number of operations on the GPU is the one that the accelerator told.
    """

    report: GpuReport
    reasons: tuple[str, ...]
    certain: bool


def place_ops(path: str | Path, *, float32: bool = False) -> GpuPlacement:
    """Open a file on the GPU, in a process of its own, and tell where each operation runs.

    Args:
        path: A ``.tflite`` file.
        float32: Whether to compute in float32 where the GPU would take float16.

    Raises:
        DelegateError: There is no GPU, or it runs nothing of this model.
        InvalidModelError: The file is damaged, or the driver crashes on it.
    """
    return run_isolated(_place_ops, str(path), float32, timeout_s=_EXPLAIN_SECONDS)


def _place_ops(path: str, float32: bool) -> GpuPlacement:
    """The child's side of ``place_ops``."""
    session = GpuSession(path, float32=float32)
    report = session.report
    session.close()
    graph = read_graph(path)
    kinds = {op for op, _ in report.refusals}
    suspects = [op.index for op in graph.ops if op.name in kinds]
    taken = find_partition(graph, suspects)
    if len(taken) != report.delegated_ops:
        suspects = list(_find_refused(Path(path).read_bytes(), graph, suspects))
        taken = find_partition(graph, suspects)
    return GpuPlacement(
        report=report,
        reasons=give_reasons(graph, taken, suspects, report),
        certain=len(taken) == report.delegated_ops,
    )


def find_partition(graph: Graph, refused: Collection[int]) -> frozenset[int]:
    """Find the group of operations that goes to the accelerator.

    Follows ``PartitionGraphIntoIndependentNodeSubsets`` of TensorFlow Lite: a group takes every
    operation of its kind (supported or not) whose inputs are there already, until none is left;
    then a group of the other kind begins.

    Args:
        graph: The model.
        refused: Indices of the operations that the accelerator does not support.

    Returns:
        Indices of the largest supported group, of equal ones the first; without operations that
        unpack weights, which are no work at all when the model runs.
    """
    groups: list[tuple[bool, list[int]]] = []
    unpacking = find_unpacking(graph)
    waiting = [op.index for op in graph.ops if op.index not in unpacking]
    missing = {t for index in waiting for t in graph.ops[index].outputs}
    while waiting:
        kind, members = None, []
        for index in _gather(graph, waiting, missing):
            if kind is None:
                kind = index not in refused
            if kind is (index not in refused):
                members.append(index)
                missing.difference_update(graph.ops[index].outputs)
        if not members:
            break  # a cycle: no sound file has one
        gathered = set(members)
        waiting = [index for index in waiting if index not in gathered]
        groups.append((bool(kind), members))
    largest: list[int] = []
    for kind, members in groups:
        if kind and len(members) > len(largest):
            largest = members
    return frozenset(largest)


def _gather(graph: Graph, waiting: Sequence[int], missing: set[int]) -> Iterator[int]:
    """Yield operations in file order as their inputs come in; ``missing`` shrinks meanwhile."""
    # A file lists operations in an order in which they can run: one pass finds them all.
    return (i for i in waiting if not missing.intersection(graph.ops[i].inputs))


def _find_refused(model: bytes, graph: Graph, suspects: Sequence[int]) -> Iterator[int]:
    """Ask the accelerator about single operations; yield those that it does not take."""
    with TemporaryDirectory() as folder:
        for index in suspects:
            path = Path(folder) / f"{index}.tflite"
            op = graph.ops[index]
            try:
                inputs = [t.index for t in graph.op_inputs(op) if not t.constant]
                path.write_bytes(extract_part(model, inputs, list(op.outputs)))
                GpuSession(path).close()
            except EdgeVisionError:
                yield index


def give_reasons(
    graph: Graph, taken: Collection[int], refused: Collection[int], report: GpuReport
) -> tuple[str, ...]:
    """Say for each operation why it stays on the CPU.

    Args:
        graph: The model.
        taken: Operations that run on the GPU.
        refused: Operations that it does not support.
        report: What it said about kinds of operations.

    Returns:
        One text per operation, empty for those on the GPU.
    """
    said: dict[str, list[str]] = {}
    for op, reason in report.refusals:
        said.setdefault(op, []).append(reason)
    unpacking = find_unpacking(graph)
    texts = {name: "; ".join(reasons) for name, reasons in said.items()}
    return tuple(
        ""
        if op.index in taken or (op.index in unpacking and _is_read_by(graph, op, taken))
        else f"the GPU refuses it: {texts[op.name]}"
        if op.index in refused
        else _explain_position(graph, op, refused)
        for op in graph.ops
    )


def _is_read_by(graph: Graph, op: Op, taken: Collection[int]) -> bool:
    return any(reader in taken for t in op.outputs for reader in graph.consumers.get(t, ()))


def _explain_position(graph: Graph, op: Op, refused: Collection[int]) -> str:
    """Name the refused operation that cuts ``op`` off: the nearest one before it in its data."""
    seen, pending = set(), [t for t in op.inputs if t >= 0]
    while pending:
        producer = graph.producers.get(pending.pop(0))
        if producer is None or producer in seen:
            continue
        seen.add(producer)
        if producer in refused:
            return (
                f"the GPU takes one group of operations only, and this one comes after "
                f"{graph.ops[producer].name} (operation {producer}), which it refuses"
            )
        pending.extend(t for t in graph.ops[producer].inputs if t >= 0)
    return "the GPU takes one group of operations only, the largest; this one is in another"
