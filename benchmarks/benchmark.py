"""``benchmark``: one table for files, devices and thread counts, measured side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from edgevision.benchmarks.conditions import Watch, find_disturbances
from edgevision.benchmarks.environment import describe_environment
from edgevision.benchmarks.latency import (
    PRECISION,
    Latency,
    Timed,
    compare_latencies,
    measure_latencies,
)
from edgevision.benchmarks.operators import profile_operators
from edgevision.benchmarks.placement.explain import OpPlacement, explain, place_on_cpu
from edgevision.benchmarks.profile import profile
from edgevision.benchmarks.rows import FAILED, OK, UNAVAILABLE, BenchmarkReport, BenchmarkRow
from edgevision.benchmarks.station import Station
from edgevision.errors import DelegateError, EdgeVisionError, InvalidConfigError
from edgevision.runtime.isolate import IsolatedCallError
from edgevision.runtime.worker import Worker
from edgevision.specs import Device, ModelFormat, Progress, parse_choice
from edgevision.threads import resolve_threads

__all__ = ["FAILED", "OK", "UNAVAILABLE", "BenchmarkReport", "BenchmarkRow", "benchmark"]

OPEN_SECONDS = 300.0
TURN_SECONDS = 600.0


def benchmark(
    files: Sequence[str | Path],
    *,
    devices: Sequence[Device | str] = (Device.CPU,),
    threads: Sequence[int | None] = (None,),
    gpu_float32: bool = False,
    data: str | Path | None = None,
    seconds: float = 3.0,
    per_op: bool = False,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> BenchmarkReport:
    """Measure models beside each other.

    Each model lives in a process of its own; one that fails there becomes a row with the reason.
    The others are timed in turns. Latency is that of the interpreter alone, without image decoding
    and preprocessing.

    Args:
        files: ``.tflite`` and ``.onnx`` files.
        devices: Where to run each; a device that is not there gives a row that says so.
        threads: Thread counts to try; ``None`` is the default of ``load``.
        gpu_float32: Whether a GPU computes in float32 where it would take float16.
        data: Labelled images for the accuracy column.
        seconds: Timed seconds per row at the least; up to three times as long where the median is
            not known to 2 % by then.
        per_op: Also time single operations, of ``.tflite`` files on the CPU.
        skip_broken: Leave out images of ``data`` that can not be read.
        progress: Called with stage, done and total.

    Raises:
        InvalidConfigError: There is no file, or a device is unknown.
        MissingFileError: A file does not exist.
        InvalidModelError: A file is damaged.
        DataError: ``data`` holds no usable images, or none for the tasks of the files.
    """
    if not files:
        raise InvalidConfigError("nothing to measure", remedy="name at least one model file")
    rows = _plan_rows(files, devices, threads, gpu_float32)
    with _open_stations(rows) as workers:
        if data is not None:
            # Imported here, as below: whoever measures latency alone need not wait for it.
            from edgevision.benchmarks.accuracy import check_data

            # A wrong folder is told before the measuring, not after.
            check_data(files, data, skip_broken=skip_broken)
        watch = Watch(worker.pid for worker in workers)
        rows = _probe(rows, workers, progress)
        stations = [_Station(worker) for worker in workers]
        rows = add_latencies(rows, stations, seconds, progress)
        conditions = watch.finish()
    rows = [replace(row, left_behind=_find_left_behind(row)) for row in rows]
    if per_op:
        rows = _add_operators(rows, progress)
    if data is not None:
        rows = _add_accuracies(rows, data, skip_broken, progress)
    return BenchmarkReport(
        rows=tuple(rows),
        environment=describe_environment(),
        conditions=conditions,
        data="" if data is None else str(data),
        warnings=(*find_disturbances(conditions), *find_uncertain(rows)),
    )


def _plan_rows(
    files: Sequence[str | Path],
    devices: Sequence[Device | str],
    threads: Sequence[int | None],
    gpu_float32: bool,
) -> list[BenchmarkRow]:
    chosen = tuple(parse_choice(Device, device, "device") for device in devices)
    profiles = [profile(file) for file in files]
    return [
        BenchmarkRow(
            file=str(file),
            device=device,
            threads=resolve_threads(count),
            profile=counted,
            gpu_float32=gpu_float32,
        )
        for (file, counted), device, count in product(
            zip(files, profiles, strict=True), chosen, threads
        )
    ]


@contextmanager
def _open_stations(rows: Sequence[BenchmarkRow]) -> Iterator[list[Worker]]:
    """Start a process for every row; they load their interpreters side by side."""
    workers = [
        Worker(Station, row.file, str(row.device), row.threads, row.gpu_float32) for row in rows
    ]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


def _probe(
    rows: list[BenchmarkRow], workers: Sequence[Worker], progress: Progress | None
) -> list[BenchmarkRow]:
    """Run each model once, one after the other."""
    probed = []
    for done, (row, worker) in enumerate(zip(rows, workers, strict=True)):
        if progress:
            progress("probing", done, len(rows))
        try:
            probe = worker.call("probe", timeout_s=OPEN_SECONDS)
            probed.append(replace(row, probe=probe, steps=worker.call("time_steps")))
            if row.device is Device.EDGETPU:
                worker.call("release")  # one process at a time can have it
        except EdgeVisionError as error:
            failed = _describe_failure(row, error)
            probed.append(_add_estimate(failed) if row.device is Device.EDGETPU else failed)
    if progress:
        progress("probing", len(rows), len(rows))
    return probed


def _describe_failure(row: BenchmarkRow, error: EdgeVisionError) -> BenchmarkRow:
    """Say why a row has no figures; on the Edge TPU it is the library that crashes, no model."""
    if row.device is Device.EDGETPU and isinstance(error, IsolatedCallError):
        from edgevision.runtime.edgetpu import explain_crash

        error = explain_crash(error)
    status = UNAVAILABLE if isinstance(error, DelegateError) else FAILED
    return replace(row, status=status, reason=str(error))


def _add_estimate(row: BenchmarkRow) -> BenchmarkRow:
    """Add what an Edge TPU that is not there would need, where the file lets it be told."""
    if row.status != UNAVAILABLE or row.profile.format is not ModelFormat.TFLITE:
        return row
    explained = explain(row.file, device=Device.EDGETPU)
    if explained.estimate is None:
        return row
    reason = f"{row.reason}; {explained.estimate}"
    return replace(row, reason=reason, estimate=explained.estimate)


class _Station:
    """A model in its process, as ``measure_latencies`` takes it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def warm_up(self) -> tuple[float, int]:
        first_ms, count = self._worker.call("warm_up", timeout_s=TURN_SECONDS)
        return first_ms, count

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        times: list[float] = self._worker.call(
            "time_block", seconds, refill, timeout_s=TURN_SECONDS
        )
        return times

    def release(self) -> None:
        with suppress(EdgeVisionError):  # a process that ended has released everything
            self._worker.call("release")


def add_latencies(
    rows: Sequence[BenchmarkRow],
    stations: Sequence[Timed],
    seconds: float,
    progress: Progress | None,
) -> list[BenchmarkRow]:
    """Time all rows that can run, in turns; ``stations`` has the model of each."""
    runnable = [i for i, row in enumerate(rows) if row.status == OK]
    found: dict[int, Latency | EdgeVisionError] = {}
    for group in _group_turns(rows, runnable):
        members = [stations[i] for i in group]
        times = measure_latencies(members, seconds=seconds, progress=progress)
        found.update(zip(group, times, strict=True))
        for i, station in zip(group, members, strict=True):
            if rows[i].device is Device.EDGETPU and isinstance(station, _Station):
                station.release()
    # The times of a program that imitates a GPU are compared with nothing.
    ranked = {i: x for i, x in found.items() if isinstance(x, Latency) and not rows[i].software}
    reference = next(iter(ranked.values()), None)
    timed = list(rows)
    for i, result in found.items():
        if isinstance(result, Latency):
            ratio = compare_latencies(result, reference) if reference and i in ranked else None
            timed[i] = replace(rows[i], latency=result, ratio=ratio)
        else:
            timed[i] = replace(rows[i], status=FAILED, reason=str(result))
    return timed


def _group_turns(rows: Sequence[BenchmarkRow], runnable: Sequence[int]) -> list[list[int]]:
    """Group what is timed in turns; a second model on the Edge TPU waits until the first is done.

    Only one process at a time can have the device.
    """
    later = [i for i in runnable if rows[i].device is Device.EDGETPU][1:]
    return [[i for i in runnable if i not in later], *([i] for i in later)]


def find_uncertain(rows: Sequence[BenchmarkRow]) -> Iterator[str]:
    """Name rows whose median is not known well."""
    for row in rows:
        if row.latency is None or row.software:
            continue
        interval = row.latency.interval
        spread = (interval.high - interval.low) / 2 / interval.low
        if spread > 2 * PRECISION:
            yield (
                f"the latency of {row.file} is uncertain: between {interval.low:.3g} and "
                f"{interval.high:.3g} ms; measure longer, or on a quieter machine"
            )


def _add_accuracies(
    rows: list[BenchmarkRow], data: str | Path, skip_broken: bool, progress: Progress | None
) -> list[BenchmarkRow]:
    """Evaluate each file once per device; the number of threads does not change the answers.

    A file that can not be evaluated keeps its other figures, and its row says why.
    """
    from edgevision.benchmarks.accuracy import evaluate

    known: dict[tuple[str, Device], dict[str, Any]] = {}
    for row in rows:
        key = row.file, row.device
        if row.status != OK or key in known:
            continue
        try:
            result = evaluate(
                row.file,
                data,
                device=row.device,
                gpu_float32=row.gpu_float32,
                skip_broken=skip_broken,
                progress=progress,
            )
            known[key] = {"accuracy": result.to_dict()}
        except EdgeVisionError as error:
            known[key] = {"reason": f"no accuracy: {error}"}
    return [replace(row, **known.get((row.file, row.device), {})) for row in rows]


def _find_left_behind(row: BenchmarkRow) -> tuple[OpPlacement, ...]:
    """Say why a delegate left operations, where it left any."""
    placement = row.probe.placement if row.probe else None
    if row.status != OK or placement is None or row.profile.format is not ModelFormat.TFLITE:
        return ()
    if placement.delegated_ops == placement.total_ops:
        return ()
    if row.device is Device.CPU:
        # The probe told already: opened here, the model could end the benchmark.
        ops = place_on_cpu(row.profile.graph, placement.partition_of)
        return tuple(op for op in ops if op.reason)
    try:
        explained = explain(row.file, device=row.device, gpu_float32=row.gpu_float32)
    except EdgeVisionError:
        return ()  # the row has its figures; only the reasons are missing
    return tuple(op for op in explained.ops if op.reason)


def _add_operators(rows: list[BenchmarkRow], progress: Progress | None) -> list[BenchmarkRow]:
    """Time the operations of every row on the CPU; one that fails keeps its other figures."""
    timed = []
    for done, row in enumerate(rows):
        if progress:
            progress("timing operations", done, len(rows))
        able = row.device is Device.CPU and row.profile.format is ModelFormat.TFLITE
        if row.status != OK or not able:
            timed.append(row)
            continue
        try:
            operators = profile_operators(row.file, threads=row.threads)
            timed.append(replace(row, operators=operators))
        except EdgeVisionError as error:
            timed.append(replace(row, reason=f"no times of operations: {error}"))
    if progress:
        progress("timing operations", len(rows), len(rows))
    return timed
