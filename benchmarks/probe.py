"""A first run of a model in a process of its own: does it run, where, and with how much memory?"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.runtime.session import Placement, RunTime, Session, TimedRuns
from edgevision.runtime.sessions import open_session
from edgevision.specs import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the first run told.

    Attributes:
        backend: Interpreter and version.
        placement: Which operations a delegate took.
        run_time: On a GPU, where the time of a run goes: starting it, and waiting for its outputs.
        peak_memory_bytes: Growth of the process's largest resident size from before the model was
            opened to after its first run; the interpreter's own library is not included.
        open_ms: Time until the model was ready for its first run.
        first_ms: The first run, which pays for packing weights and allocating memory.
    """

    backend: str
    placement: Placement
    peak_memory_bytes: int
    open_ms: float
    first_ms: float
    run_time: RunTime | None = None


def open_watched(
    path: str, device: str, threads: int | None, gpu_float32: bool = False
) -> tuple[Session, Probe]:
    """Open a model, run it once on random input and tell what it took.

    Belongs into a child process: memory is that of the whole process, and a model that kills the
    interpreter must not end the benchmark.

    Args:
        path: A ``.tflite`` or ``.onnx`` file.
        device: Where it runs.
        threads: Threads of the interpreter.
        gpu_float32: Whether the GPU computes in float32 where it would take float16.
    """
    _load_interpreter(Path(path))
    before = _start_memory_watch()
    start = time.perf_counter()
    session = open_session(path, device=device, threads=threads, gpu_float32=gpu_float32)
    opened = time.perf_counter()
    inputs = make_inputs(session)
    ready = time.perf_counter()
    session.run(inputs)
    ran = time.perf_counter()
    grown = max(0, _read_peak_bytes() - before)
    run_time = session.time_run() if isinstance(session, TimedRuns) else None
    probe = Probe(
        backend=session.backend,
        placement=session.placement(),
        peak_memory_bytes=grown,
        # Of a GPU without the search for the adapter, which is no part of opening a model.
        open_ms=run_time.open_ms if run_time else 1e3 * (opened - start),
        first_ms=1e3 * (ran - ready),
        run_time=run_time,
    )
    return session, probe


def make_inputs(session: Session, *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Make random inputs of the session's shapes and dtypes.

    Returns:
        Float inputs uniform in [-1, 1), integer inputs over their whole range (0 and 1 for 32 and
        64 bits, which are indices or flags rather than pixels).
    """
    rng = np.random.default_rng(seed)
    return {spec.name: draw_values(spec, rng) for spec in session.inputs}


def draw_values(spec: TensorSpec, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Draw values for one input, as ``make_inputs`` does."""
    shape = tuple(max(1, size) for size in spec.shape)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.uniform(-1, 1, shape).astype(dtype)
    if dtype.itemsize > 2 or dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def _load_interpreter(path: Path) -> None:
    """Import the interpreter before memory is measured: it is not the model's."""
    if path.suffix.lower() == ".onnx":
        from edgevision.backends import import_backend

        import_backend("onnxruntime")
    else:
        from edgevision.runtime.litert import find_interpreter

        find_interpreter()


def _start_memory_watch() -> int:
    """Forget earlier peaks where the system allows it; return the resident bytes now."""
    try:
        # Linux: 5 resets the peak (VmHWM) to the present size; see proc(5), clear_refs.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _read_peak_bytes()
    return pages * os.sysconf("SC_PAGESIZE")


def _read_peak_bytes() -> int:
    """Return the largest resident size since the watch began; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(li.split()[1]) * 1024 for li in status.splitlines() if "VmHWM" in li)
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
