"""TensorFlow Lite files that are compiled for the Edge TPU, on a real one, through libedgetpu.

A compiled file holds one operation for the device, or a few, and what the compiler left to the CPU.
"""

from __future__ import annotations

import gc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgevision.errors import DelegateError, InvalidModelError, summarize
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.edgetpu_library import (
    SELECTION,
    explain_loading,
    find_library_name,
    is_selected,
    list_devices,
    open_library,
    read_selection,
)
from edgevision.runtime.isolate import IsolatedCallError, is_isolated, run_isolated
from edgevision.runtime.litert import LiteRtSession, open_interpreter
from edgevision.runtime.session import Placement
from edgevision.specs import Device

_PROBE_SECONDS = 120.0
_MATCH = (
    "install a libedgetpu that was built for this interpreter's version, or an older interpreter "
    "(the extra tflite-runtime)"
)

# First cause that applies wins: what the driver or interpreter says, what went wrong, what to do.
_CAUSES = (
    (
        "runtime version",
        "the file was compiled for another version of libedgetpu",
        "update libedgetpu, or compile with `edgetpu_compiler --min_runtime_version`",
    ),
    (
        "Unsupported data type in custom op handler",
        "libedgetpu and the interpreter do not fit each other",
        _MATCH,
    ),
    (
        "unresolved custom op: edgetpu-custom-op",
        "libedgetpu does not take what was compiled for it",
        _MATCH,
    ),
    (
        "unresolved custom op",
        "the model has an operation that neither TFLite nor the Edge TPU knows",
        "convert it with TFLite's own operations only, and compile it again",
    ),
)


class EdgeTpuSession(LiteRtSession):
    """A compiled ``.tflite`` model on an Edge TPU. Not thread-safe: use one session per thread.

    The model first runs in a process of its own, because some builds of libedgetpu crash beside
    newer interpreters. Inside such a process it is opened at once. Which of several Edge TPUs is
    used says the environment variable ``EDGEVISION_EDGETPU``.

    Args:
        path: The model file, as Google's compiler wrote it.
        threads: CPU threads for the operations that the compiler left to the CPU.

    Raises:
        DelegateError: The file is not compiled for the Edge TPU, there is no library or no device,
            or it runs nothing of this model.
        InvalidModelError: The file is damaged.
        InvalidConfigError: ``EDGEVISION_EDGETPU`` names no device, or ``threads`` is below 1.
        BackendUnavailableError: No interpreter is installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self._selection = read_selection()
        self._graph = read_tflite(path)
        _check_compiled(path, self._graph)
        if not is_isolated():
            probe_edgetpu(path, threads=threads)
        super().__init__(path, threads=threads)

    def _open(self, runtime: ModuleType, threads: int) -> tuple[Any, str]:
        """Open the file with libedgetpu; what it leaves runs on the CPU as any other file."""
        delegate = load_library(runtime, self._selection)
        try:
            return open_interpreter(runtime, self.path, threads, delegates=(delegate,))
        except InvalidModelError as error:
            raise _explain_failure("the Edge TPU does not open the model", error) from error

    @property
    def backend(self) -> str:
        """Interpreter, version and driver: ``ai-edge-litert 2.3.0 and libedgetpu``."""
        return f"{super().backend} and libedgetpu"

    def invoke(self) -> None:
        """Run again on the inputs already set (for timing).

        Raises:
            DelegateError: The Edge TPU fails, or was unplugged.
        """
        try:
            super().invoke()
        except InvalidModelError as error:
            raise _explain_failure("the Edge TPU failed while running the model", error) from error

    def placement(self) -> Placement:
        """Tell which operations of the compiled file are the Edge TPU's; the CPU runs the rest."""
        taken = [op.name == COMPILED_OP for op in self._graph.ops]
        left = len(taken) - sum(taken)
        notes = (
            self._note,
            f"on the Edge TPU {self._selection}" if self._selection else "",
            f"{left} of {len(taken)} operations of the compiled file run on the CPU"
            if left
            else "",
        )
        numbers = iter(range(sum(taken)))
        return Placement(
            device=Device.EDGETPU,
            total_ops=len(taken),
            delegated_ops=sum(taken),
            partitions=sum(taken),
            delegate="libedgetpu",
            note="; ".join(filter(None, notes)),
            partition_of=tuple(next(numbers) if took else -1 for took in taken),
        )


def probe_edgetpu(path: str | Path, *, threads: int | None = None) -> None:
    """Open a compiled model on the Edge TPU and run it once, in a process of its own.

    Args:
        path: A compiled ``.tflite`` file.
        threads: CPU threads for the operations left to the CPU.

    Raises:
        DelegateError: There is no library or device, it does not run this model, or it crashes.
    """
    try:
        run_isolated(_run_once, str(path), threads, timeout_s=_PROBE_SECONDS)
    except IsolatedCallError as error:
        raise explain_crash(error) from error


def explain_crash(error: IsolatedCallError) -> DelegateError:
    """Make the error of a process that opened the Edge TPU and did not survive it."""
    return DelegateError(
        f"libedgetpu did not survive this model ({error.received})",
        device=Device.EDGETPU,
        remedy=_MATCH,
    )


def _run_once(path: str, threads: int | None) -> None:
    """Run on zeros; the child's side of ``probe_edgetpu``."""
    session = EdgeTpuSession(path, threads=threads)
    session.run({spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.inputs})
    session.close()
    gc.collect()  # the device is given back before the parent takes it


def _check_compiled(path: str | Path, graph: Graph) -> None:
    if any(op.name == COMPILED_OP for op in graph.ops):
        return
    raise DelegateError(
        f"{path} is not compiled for the Edge TPU",
        device=Device.EDGETPU,
        remedy=f"compile it with `edgetpu_compiler {path}`; `edgevision explain --device edgetpu` "
        "predicts what it will take",
    )


def load_library(runtime: ModuleType, selection: str) -> Any:
    """Load libedgetpu as a delegate, which opens the device.

    Args:
        runtime: The interpreter's module.
        selection: As ``read_selection`` returns it.

    Raises:
        DelegateError: There is no library, or no device that it can open.
    """
    name = find_library_name()
    # Counted first: libraries exist that crash when they are asked for a device that is not there.
    devices = list_devices(open_library())
    if devices is not None:
        _check_device(selection, devices)
    try:
        return runtime.load_delegate(name, {"device": selection} if selection else {})
    except OSError as error:
        raise explain_loading(name, error) from error
    except AttributeError as error:
        raise DelegateError(
            f"{name} is no libedgetpu ({summarize(error)})",
            device=Device.EDGETPU,
            remedy="remove that file, and install Google's",
        ) from error
    except (ValueError, RuntimeError) as error:
        # The library gives no reason; the interpreter's first line only repeats its name.
        said = " ".join(str(error).splitlines()[1:]).strip()
        raise DelegateError(
            f"the Edge TPU does not open ({said or 'libedgetpu gives no reason'})",
            device=Device.EDGETPU,
            remedy="end other programs that use it, and check that this user may open it (udev "
            "rule of libedgetpu; groups plugdev or apex); plug it in again",
        ) from error


def _check_device(selection: str, devices: tuple[str, ...]) -> None:
    if not devices:
        raise DelegateError(
            "there is no Edge TPU on this machine",
            device=Device.EDGETPU,
            remedy="plug in a Coral accelerator, or check that this user may see it (udev rule of "
            "libedgetpu); `edgevision doctor` tells what the system sees",
        )
    if not is_selected(selection, devices):
        raise DelegateError(
            f"there is no such Edge TPU ({SELECTION}={selection}), only {', '.join(devices)}",
            device=Device.EDGETPU,
            remedy=f"set {SELECTION} to one of these, or unset it",
        )


def _explain_failure(what: str, error: InvalidModelError) -> DelegateError:
    said = str(error.received)
    for part, cause, remedy in _CAUSES:
        if part in said:
            return DelegateError(f"{cause} ({said})", device=Device.EDGETPU, remedy=remedy)
    return DelegateError(
        f"{what} ({said})",
        device=Device.EDGETPU,
        remedy="plug the device in again, or compile the model again",
    )
