"""Latency of single operations, without a special build of the interpreter.

Every operation is cut out of the file as a model of its own and timed on the values that really
reach it, with the same threads and the same delegate; the whole network is timed in between. An
operation alone finds its weights in the caches, which in the network others have emptied since:
before each timed run that is imitated. What the sum still differs from the whole by is shown, and
the times are scaled to the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgevision.benchmarks.cuts import (
    Piece,
    build_chain,
    capture_values,
    cut_operations,
    draw_values,
)
from edgevision.benchmarks.macs import count_macs
from edgevision.benchmarks.probe import make_inputs
from edgevision.errors import EdgeVisionError, UnsupportedOpError
from edgevision.graph.blocks import name_blocks, name_layer
from edgevision.graph.graph import Graph
from edgevision.graph.reader import read_graph
from edgevision.runtime.isolate import run_isolated
from edgevision.runtime.litert import LiteRtSession
from edgevision.specs import ModelFormat
from edgevision.threads import resolve_threads

Array = np.ndarray[Any, Any]

TIMEOUT_S = 600.0
ROUNDS = 8
# Runs until the threads of what ran before have gone to sleep; then runs that count.
SETTLE_SECONDS, KEEP_SECONDS = 0.002, 0.003
WHOLE_EVERY = 8
# What is written between two runs of an operation, in place of what the network's others touch:
# half a core's cache. With several threads less, or they fall asleep meanwhile.
FLUSHED_BYTES, FLUSHED_BYTES_THREADED = 1 << 20, 1 << 18
CHAIN_LENGTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """One operation.

    Attributes:
        index: Position in the file's main subgraph.
        op: The format's name of the operation.
        name: Name of its layer.
        block: Part of the network that it belongs to.
        macs: Multiply-accumulates, 0 where none are counted.
        time_ms: Alone; ``None`` where it could not be timed.
        scaled_ms: The same, scaled so that all of them make up the whole.
        delegated: Whether a delegate takes it within the network.
        note: Why it has no time of its own, or in what its time alone misleads.
    """

    index: int
    op: str
    name: str
    block: str
    macs: int
    time_ms: float | None
    scaled_ms: float
    delegated: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProfile:
    """Where the time of one inference goes.

    Attributes:
        file: The model.
        threads: Of the interpreter.
        whole_ms: The whole network, measured in between; lower quartile of the turns, as for its
            operations.
        ops: One entry per operation, in order of execution.
    """

    file: str
    threads: int
    whole_ms: float
    ops: tuple[OperatorTime, ...]

    @property
    def sum_ms(self) -> float:
        """What the operations take alone, together."""
        return sum(op.time_ms or 0.0 for op in self.ops)

    @property
    def residual(self) -> float:
        """Share of the whole that the operations alone do not explain; negative if too much."""
        return 1 - self.sum_ms / self.whole_ms

    def group(self, key: str) -> dict[str, tuple[float, float]]:
        """Return shares of time and of MACs by ``op`` or ``block``, in order of execution."""
        times: dict[str, float] = {}
        macs: dict[str, int] = {}
        for op in self.ops:
            name = getattr(op, key)
            times[name] = times.get(name, 0.0) + op.scaled_ms
            macs[name] = macs.get(name, 0) + op.macs
        all_macs = sum(macs.values()) or 1
        return {name: (t / self.whole_ms, macs[name] / all_macs) for name, t in times.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "file": self.file,
            "threads": self.threads,
            "whole_ms": self.whole_ms,
            "sum_ms": self.sum_ms,
            "residual": self.residual,
            "ops": [asdict(op) for op in self.ops],
            **{
                f"by_{key}": [
                    {"name": name, "time_share": time_share, "macs_share": macs_share}
                    for name, (time_share, macs_share) in self.group(key).items()
                ]
                for key in ("op", "block")
            },
        }


def profile_operators(path: str | Path, *, threads: int | None = None) -> OperatorProfile:
    """Time every operation of a ``.tflite`` file on the CPU, in a process of its own.

    Args:
        path: The model.
        threads: Of the interpreter; by default as ``load`` takes them.

    Raises:
        UnsupportedOpError: The file is no ``.tflite``, or has inputs of unknown size.
        InvalidModelError: The file is damaged, or the interpreter refuses or does not survive it.
    """
    graph = read_graph(path)
    if graph.format is not ModelFormat.TFLITE:
        raise UnsupportedOpError(
            "operations are timed in .tflite files",
            received=path,
            remedy="convert it with `edgevision convert`",
        )
    if not all(graph.tensors[i].static for i in graph.inputs):
        raise UnsupportedOpError(
            "operations of a file without fixed input sizes can not be timed",
            received=path,
            remedy="convert it with a fixed input size",
        )
    count = resolve_threads(threads)
    measured = run_isolated(time_pieces, str(path), count, timeout_s=TIMEOUT_S)
    return _describe(str(path), graph, count, measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What ``time_pieces`` found.

    Attributes:
        whole_ms: Time of the whole network.
        times: Time alone in ms, and a note, by operation.
        delegated: Whether a delegate takes each operation within the network.
    """

    whole_ms: float
    times: Mapping[int, tuple[float | None, str]]
    delegated: tuple[bool, ...]


def time_pieces(path: str, threads: int) -> Measured:
    """Time the whole network and its operations; belongs into a child process."""
    data = Path(path).read_bytes()
    graph = read_graph(path)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        whole = LiteRtSession(path, threads=threads)
        stack.callback(whole.close)
        partition_of = whole.placement().partition_of
        values = capture_values(path, graph) or draw_values(graph)
        pieces, notes = cut_operations(data, graph, partition_of)
        flushed = _create_flushed(whole.threads)
        benches = []
        times: dict[int, tuple[float | None, str]] = {i: (None, n) for i, n in notes.items()}
        for piece in pieces:
            try:
                file = folder / f"{piece.op}.tflite"
                bench = _open_bench(piece, file, values, flushed, threads)
            except EdgeVisionError as error:
                times[piece.op] = None, f"does not run alone: {error}"
                continue
            stack.callback(bench.session.close)
            benches.append(bench)
        start_ms = measure_start(folder, threads)
        start = {s.name: values[i] for s, i in zip(whole.inputs, graph.inputs, strict=True)}
        whole.run(start)
        whole_ms = _measure(whole, benches)
        for bench in benches:
            note = ""
            if bench.delegated != (partition_of[bench.piece.op] >= 0):
                note = "alone it runs in another kernel than within the network"
            times[bench.piece.op] = max(0.0, _find_quiet(bench.times) - start_ms), note
    return Measured(whole_ms=whole_ms, times=times, delegated=tuple(p >= 0 for p in partition_of))


def measure_start(folder: Path, threads: int) -> float:
    """Return what it costs to start an interpreter and wake its threads, in ms.

    Operations cut out pay for it every time, within a network only the first one does. It is what
    one of a chain of equal operations takes alone more than its share of the chain.
    """
    times = {}
    for length in (1, CHAIN_LENGTH):
        path = folder / f"chain_{length}.tflite"
        path.write_bytes(build_chain(length))
        session = LiteRtSession(path, threads=threads)
        inputs = make_inputs(session)
        session.run(inputs)
        prepare = _Prepare(session, inputs, _create_flushed(session.threads))
        turns = [_time_turn(session.invoke, KEEP_SECONDS, prepare) for _ in range(ROUNDS)]
        times[length] = _find_quiet(turns)
        session.close()
    return max(0.0, (CHAIN_LENGTH * times[1] - times[CHAIN_LENGTH]) / (CHAIN_LENGTH - 1))


@dataclass(slots=True)
class _Bench:
    """A piece that is ready to be timed."""

    piece: Piece
    session: LiteRtSession
    prepare: _Prepare
    delegated: bool
    times: list[float]


def _open_bench(
    piece: Piece, path: Path, values: Mapping[int, Array], flushed: Array, threads: int
) -> _Bench:
    path.write_bytes(piece.model)
    session = LiteRtSession(path, threads=threads)
    inputs = {s.name: values[i] for s, i in zip(session.inputs, piece.inputs, strict=True)}
    session.run(inputs)
    prepare = _Prepare(session, inputs, flushed)
    return _Bench(piece, session, prepare, session.placement().delegated_ops > 0, [])


def _measure(whole: LiteRtSession, benches: Sequence[_Bench]) -> float:
    """Time the pieces in turns, the whole network in between; return the whole's time in ms."""
    found = []
    for _ in range(ROUNDS):
        for number, bench in enumerate(benches):
            if number % WHOLE_EVERY == 0:
                found.append(_time_turn(whole.invoke, 3 * KEEP_SECONDS))
            bench.times.append(_time_turn(bench.session.invoke, KEEP_SECONDS, bench.prepare))
    return _find_quiet(found) if found else _time_turn(whole.invoke, KEEP_SECONDS)


def _create_flushed(threads: int) -> Array:
    """Make what is written over between two runs."""
    num_bytes = FLUSHED_BYTES if threads == 1 else FLUSHED_BYTES_THREADED
    return np.zeros(num_bytes // 4, np.float32)


class _Prepare:
    """Brings the caches into the state that an operation finds within a network."""

    def __init__(self, session: LiteRtSession, inputs: Mapping[str, Array], flushed: Array) -> None:
        self._session, self._inputs, self._flushed = session, inputs, flushed

    def __call__(self) -> None:
        np.add(self._flushed, 1, out=self._flushed)
        # What the operation before has just written is still at hand.
        self._session.set_inputs(self._inputs)


def _find_quiet(turns: Sequence[float]) -> float:
    """Return the lower quartile: what other programs do meanwhile hits long runs most."""
    return sorted(turns)[len(turns) // 4]


def _time_turn(
    run: Callable[[], None], seconds: float, prepare: Callable[[], None] | None = None
) -> float:
    """Return the median time of single runs over a few milliseconds, in ms."""
    end = time.perf_counter() + SETTLE_SECONDS
    run()
    while time.perf_counter() < end:
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        if prepare is not None:
            prepare()
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def _describe(path: str, graph: Graph, threads: int, measured: Measured) -> OperatorProfile:
    times = measured.times
    names = [name_layer(graph, op) for op in graph.ops]
    macs = count_macs(graph).per_op
    total = sum(t or 0.0 for t, _ in times.values())
    scale = measured.whole_ms / total if total else 0.0
    ops = tuple(
        OperatorTime(
            index=op.index,
            op=op.name,
            name=name,
            block=block,
            macs=macs.get(op.index, 0),
            time_ms=times[op.index][0],
            scaled_ms=scale * (times[op.index][0] or 0.0),
            delegated=measured.delegated[op.index],
            note=times[op.index][1],
        )
        for op, name, block in zip(graph.ops, names, name_blocks(names), strict=True)
    )
    return OperatorProfile(file=path, threads=threads, whole_ms=measured.whole_ms, ops=ops)
