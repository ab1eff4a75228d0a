"""The rows of a benchmark, and the report that they make up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgevision.benchmarks.latency import Latency, Ratio
from edgevision.benchmarks.operators import OperatorProfile
from edgevision.benchmarks.placement.edgetpu_latency import Estimate
from edgevision.benchmarks.placement.explain import OpPlacement
from edgevision.benchmarks.probe import Probe
from edgevision.benchmarks.profile import Profile
from edgevision.benchmarks.station import StepTimes
from edgevision.runtime.session import Adapter
from edgevision.specs import Device

OK, UNAVAILABLE, FAILED = "ok", "unavailable", "failed"
SCHEMA = 2
"""Version of the JSON document; counts up when a key changes its meaning or goes."""


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
        ratio: Time as a multiple of the first row's, where both were timed.
        steps: Pre- and postprocessing, where the file says what it is for.
        probe: Placement and memory of the process, where ``status`` is ``ok``.
        accuracy: Figures of ``evaluate`` on the given data, otherwise empty.
        operators: Times of single operations, where they were asked for.
        left_behind: Operations that the device's delegate left, with the reasons.
        estimate: How long it would take on an Edge TPU that is not there.
    """

    file: str
    device: Device
    threads: int
    profile: Profile
    gpu_float32: bool = False
    status: str = OK
    reason: str = ""
    latency: Latency | None = None
    ratio: Ratio | None = None
    steps: StepTimes | None = None
    probe: Probe | None = None
    accuracy: dict[str, Any] = field(default_factory=dict)
    operators: OperatorProfile | None = None
    left_behind: tuple[OpPlacement, ...] = ()
    estimate: Estimate | None = None

    @property
    def adapter(self) -> Adapter | None:
        """The GPU that ran, where there is one."""
        return self.probe.placement.adapter if self.probe else None

    @property
    def adapter_note(self) -> str:
        """Which GPU ran and what it left to the CPU, for a person; empty for other devices."""
        if self.probe is None or self.adapter is None:
            return ""
        return f"{self.file} on {self.device}: {self.probe.placement.note}"

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
            "relative": self.ratio.to_dict() if self.ratio else None,
            "steps_ms": self.steps.to_dict() if self.steps else None,
            "open_ms": self.probe.open_ms if self.probe else None,
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
            "estimate_ms": self.estimate.to_dict() if self.estimate else None,
            "left_behind": [
                {"index": op.index, "op": op.op, "name": op.name, "reason": op.reason}
                for op in self.left_behind
            ],
            "per_op": self.operators.to_dict() if self.operators else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkReport:
    """Everything that one call of ``benchmark`` measured.

    Attributes:
        rows: In the order of files, devices and threads.
        environment: Machine and software.
        conditions: What happened on the machine meanwhile.
        data: The folder on which accuracy was measured, otherwise empty.
        warnings: What makes these figures less reliable.
    """

    rows: tuple[BenchmarkRow, ...]
    environment: dict[str, Any]
    conditions: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "schema": SCHEMA,
            "rows": [row.to_dict() for row in self.rows],
            "environment": self.environment,
            "conditions": self.conditions,
            "data": self.data,
            "warnings": list(self.warnings),
        }
