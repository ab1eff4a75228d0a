"""``benchmark``: one table for files, devices and thread counts, measured side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from edgevision.benchmarks.accuracy import check_data, evaluate
from edgevision.benchmarks.environment import describe_environment, find_disturbances
from edgevision.benchmarks.latency import Latency, measure_latencies
from edgevision.benchmarks.probe import Probe, make_inputs, probe_model
from edgevision.benchmarks.profile import Profile, profile
from edgevision.errors import DelegateError, EdgeVisionError, InvalidConfigError
from edgevision.runtime.isolate import run_isolated
from edgevision.runtime.session import Adapter
from edgevision.runtime.sessions import open_session
from edgevision.specs import Device, Progress, parse_choice
from edgevision.threads import resolve_threads

OK, UNAVAILABLE, FAILED = "ok", "unavailable", "failed"
PROBE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """One model on one device with one number of threads.

    Attributes:
        file: The model file.
        device: Where it was to run.
        threads: Interpreter threads.
        profile: MACs, parameters and memory plan of the file.
        gpu_float32: Whether a GPU was to compute in float32 where it would take float16.
        status: ``ok``, ``unavailable`` (no such device here) or ``failed``.
        reason: Why there is no latency, or no accuracy.
        latency: Timed runs, where ``status`` is ``ok``.
        probe: Placement and memory of the process, where ``status`` is ``ok``.
        accuracy: Figures of ``evaluate`` on the given data, otherwise empty.
    """

    file: str
    device: Device
    threads: int
    profile: Profile
    gpu_float32: bool = False
    status: str = OK
    reason: str = ""
    latency: Latency | None = None
    probe: Probe | None = None
    accuracy: dict[str, Any] = field(default_factory=dict)

    @property
    def adapter(self) -> Adapter | None:
        """The GPU that ran, where there is one."""
        return self.probe.placement.adapter if self.probe else None

    @property
    def software(self) -> bool:
        """Whether a program imitated the device: such a latency is in no ranking and no plot."""
        return self.adapter is not None and self.adapter.software

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        placement = self.probe.placement if self.probe else None
        run_time = self.probe.run_time if self.probe else None
        return {
            "file": self.file,
            "device": str(self.device),
            "threads": self.threads,
            "status": self.status,
            "reason": self.reason,
            "latency_ms": self.latency.to_dict() if self.latency else None,
            "macs": self.profile.macs,
            "params": self.profile.params,
            "file_bytes": self.profile.file_bytes,
            "peak_activation_bytes": self.profile.peak_activation_bytes,
            "peak_memory_bytes": self.probe.peak_memory_bytes if self.probe else None,
            "accuracy": self.accuracy or None,
            "delegated_ops": placement.delegated_ops if placement else None,
            "total_ops": placement.total_ops if placement else None,
            "partitions": placement.partitions if placement else None,
            "delegate": placement.delegate if placement else None,
            "backend": self.probe.backend if self.probe else None,
            "note": placement.note if placement else "",
            "adapter": self.adapter.to_dict() if self.adapter else None,
            "software": self.software,
            "run_time_ms": run_time.to_dict() if run_time else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkReport:
    """Everything that one call of ``benchmark`` measured.

    Attributes:
        rows: In the order of files, devices and threads.
        environment: Machine, software and load.
        data: The folder on which accuracy was measured, otherwise empty.
        warnings: What makes these figures less reliable.
    """

    rows: tuple[BenchmarkRow, ...]
    environment: dict[str, Any]
    data: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "environment": self.environment,
            "data": self.data,
            "warnings": list(self.warnings),
        }


def benchmark(
    files: Sequence[str | Path],
    *,
    devices: Sequence[Device | str] = (Device.CPU,),
    threads: Sequence[int | None] = (None,),
    gpu_float32: bool = False,
    data: str | Path | None = None,
    seconds: float = 2.0,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> BenchmarkReport:
    """Measure models beside each other.

    Each model first runs in a process of its own; one that fails there becomes a row with the
    reason. The others are then timed in turns. Latency is that of the interpreter alone, without
    image decoding and preprocessing.

    Args:
        files: ``.tflite`` and ``.onnx`` files.
        devices: Where to run each; a device that is not there gives a row that says so.
        threads: Thread counts to try; ``None`` is the default of ``load``.
        gpu_float32: Whether a GPU computes in float32 where it would take float16.
        data: Labelled images for the accuracy column.
        seconds: Timed seconds per row.
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
    chosen = tuple(parse_choice(Device, device, "device") for device in devices)
    profiles = [profile(file) for file in files]
    if data is not None:
        # A wrong folder is told before the measuring, not after.
        check_data(files, data, skip_broken=skip_broken)
    environment = describe_environment()
    rows = [
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
    rows = [_probe(row, i, len(rows), progress) for i, row in enumerate(rows)]
    rows = _add_latencies(rows, seconds, progress)
    if data is not None:
        rows = _add_accuracies(rows, data, skip_broken, progress)
    return BenchmarkReport(
        rows=tuple(rows),
        environment=environment,
        data="" if data is None else str(data),
        warnings=find_disturbances(environment),
    )


def _probe(row: BenchmarkRow, done: int, total: int, progress: Progress | None) -> BenchmarkRow:
    """Run the model once in a child process."""
    if progress:
        progress("probing", done, total)
    try:
        probe = run_isolated(
            probe_model,
            row.file,
            str(row.device),
            row.threads,
            row.gpu_float32,
            timeout_s=PROBE_SECONDS,
        )
    except EdgeVisionError as error:
        status = UNAVAILABLE if isinstance(error, DelegateError) else FAILED
        row = replace(row, status=status, reason=str(error))
    else:
        row = replace(row, probe=probe)
    if progress:
        progress("probing", done + 1, total)
    return row


def _add_latencies(
    rows: list[BenchmarkRow], seconds: float, progress: Progress | None
) -> list[BenchmarkRow]:
    """Time all rows that can run, in turns."""
    runnable = [i for i, row in enumerate(rows) if row.status == OK]
    sessions = [
        open_session(
            rows[i].file,
            device=rows[i].device,
            threads=rows[i].threads,
            gpu_float32=rows[i].gpu_float32,
        )
        for i in runnable
    ]
    for session in sessions:
        session.run(make_inputs(session))
    latencies = measure_latencies(
        [session.invoke for session in sessions], seconds=seconds, progress=progress
    )
    for session in sessions:
        session.close()
    timed = dict(zip(runnable, latencies, strict=True))
    return [replace(row, latency=timed.get(i)) for i, row in enumerate(rows)]


def _add_accuracies(
    rows: list[BenchmarkRow], data: str | Path, skip_broken: bool, progress: Progress | None
) -> list[BenchmarkRow]:
    """Evaluate each file once per device; the number of threads does not change the answers.

    A file that can not be evaluated keeps its other figures, and its row says why.
    """
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
