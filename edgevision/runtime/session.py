"""The one interface to every interpreter: named inputs in, named outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from edgevision.specs import Device, TensorSpec

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The GPU that really ran, as its driver introduces itself.

    Attributes:
        name: For example ``NVIDIA H100 80GB HBM3``.
        kind: What the driver calls it: discrete or integrated GPU, or ``CPU / Software``.
        api: The interface below: ``Vulkan``, ``D3D12`` or ``Metal``.
        precision: In what it computes: ``float32`` or ``float16``.
        software: Whether it is a program on the CPU that imitates a GPU. Its answers are right;
            its times say nothing about any GPU.
    """

    name: str
    kind: str
    api: str
    precision: str
    software: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """Where the time of a model on a GPU goes, in milliseconds.

    Attributes:
        open_ms: Opening the model: weights go to the GPU, and most programs for it are compiled.
        first_ms: The very first run, until its outputs were read.
        submit_ms: Until the call that starts the run returned. The GPU may still be at work then.
        read_ms: From there until all outputs were read.
    """

    open_ms: float
    first_ms: float
    submit_ms: float
    read_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the operations of a session really run.

    Attributes:
        device: The device that was asked for and is used.
        total_ops: Operations of the main subgraph.
        delegated_ops: How many of them a delegate (XNNPACK on the CPU) took.
        partitions: Number of delegate calls they were grouped into.
        delegate: Name of the delegate, empty when there is none.
        note: What a reader must know, for example why nothing could be counted.
        partition_of: For each operation, in file order, the number of its delegate call from 0,
            or -1 where the interpreter runs it itself; empty when unknown.
        adapter: The GPU that runs the delegated operations; ``None`` on other devices.
    """

    device: Device
    total_ops: int
    delegated_ops: int
    partitions: int
    delegate: str = ""
    note: str = ""
    partition_of: tuple[int, ...] = ()
    adapter: Adapter | None = None


@runtime_checkable
class Session(Protocol):
    """A loaded model, ready to run. Not thread-safe: use one session per thread."""

    @property
    def backend(self) -> str:
        """Interpreter and version, for example ``ai-edge-litert 2.3.0``."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What ``run`` takes."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What ``run`` returns; signature names where the file has a signature."""

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run once on arrays of exactly the declared shapes and dtypes; returns copies."""

    def invoke(self) -> None:
        """Run again on the inputs already set (for timing)."""

    def placement(self) -> Placement:
        """Tell which operations a delegate took."""

    def close(self) -> None:
        """Free the interpreter."""


@runtime_checkable
class TimedRuns(Protocol):
    """A session whose device works on after the call that starts a run has returned."""

    def time_run(self) -> RunTime:
        """Run again on the inputs already set, and tell starting the run from waiting for it."""
