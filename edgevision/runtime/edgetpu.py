"""Files that Google's compiler made for the Edge TPU, run through ``libedgetpu``.

The environment variable ``EDGEVISION_EDGETPU`` chooses among several devices, in libedgetpu's own
words: ``usb``, ``usb:1``, ``pci``, ``pci:0``; unset, any device is taken. Libraries and runtimes
that do not fit together crash, so the model first runs in a child process.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import ModuleType
from typing import Any

from edgevision.errors import DelegateError, summarize
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.edgetpu_library import count_devices, name_library, read_selection
from edgevision.runtime.isolate import IsolatedCallError, is_isolated, run_isolated
from edgevision.runtime.litert import LiteRtSession
from edgevision.runtime.session import Placement
from edgevision.specs import Device

_TRIAL_SECONDS = 60.0


class EdgeTpuSession(LiteRtSession):
    """A compiled ``.tflite`` model on an Edge TPU; what the compiler left runs on the CPU.

    Not thread-safe: use one session per thread.

    Args:
        path: The compiled file, ``…_edgetpu.tflite`` as the compiler calls it.
        threads: Threads of what runs on the CPU.

    Raises:
        DelegateError: The file is not compiled, or there is no library or no device.
        InvalidConfigError: ``EDGEVISION_EDGETPU`` names no device, or ``threads`` is below 1.
        InvalidModelError: The file is damaged.
        BackendUnavailableError: No interpreter is installed.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self._selection = read_selection()
        self._graph = read_tflite(path)
        check_compiled(path, [op.name for op in self._graph.ops])
        if not is_isolated():
            _try_in_child(path, threads)
        super().__init__(path, threads=threads)

    def _open(self, runtime: ModuleType, threads: int) -> tuple[Any, str]:
        """Open the file with libedgetpu."""
        delegate = load_library(runtime, self._selection)
        try:
            interpreter = runtime.Interpreter(
                model_path=str(self.path), num_threads=threads, experimental_delegates=[delegate]
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise DelegateError(
                f"the Edge TPU refuses {self.path}: {summarize(error)}",
                device=Device.EDGETPU,
                remedy="compile it again with the edgetpu_compiler that fits the installed "
                "libedgetpu",
            ) from error
        return interpreter, ""

    def placement(self) -> Placement:
        """Tell what the file holds for the Edge TPU; the compiler decided it."""
        taken = [op.name == COMPILED_OP for op in self._graph.ops]
        numbers = iter(range(sum(taken)))
        return Placement(
            device=Device.EDGETPU,
            total_ops=len(taken),
            delegated_ops=sum(taken),
            partitions=sum(taken),
            delegate="libedgetpu",
            note=self._note,
            partition_of=tuple(next(numbers) if took else -1 for took in taken),
        )


def check_compiled(path: str | Path, names: list[str]) -> None:
    """Hold that a file comes from the compiler.

    Args:
        path: The file, for the message.
        names: Its operations.

    Raises:
        DelegateError: Nothing in it is for the Edge TPU.
    """
    if COMPILED_OP not in names:
        raise DelegateError(
            f"{path} is not compiled for the Edge TPU",
            device=Device.EDGETPU,
            remedy="run edgetpu_compiler on it; `edgevision explain --device edgetpu` predicts "
            "what it takes",
        )


def load_library(runtime: ModuleType, selection: str) -> Any:
    """Load libedgetpu as a delegate.

    Args:
        runtime: The interpreter's module.
        selection: As ``read_selection`` returns it.

    Raises:
        DelegateError: There is no library, or no device that it can open.
    """
    name = name_library()
    try:
        ctypes.CDLL(name)  # the interpreter's own attempt ends with noise where there is none
        return runtime.load_delegate(name, {"device": selection} if selection else {})
    except OSError as error:
        raise DelegateError(
            f"the Edge TPU's library {name} can not be loaded ({summarize(error)})",
            device=Device.EDGETPU,
            remedy="install libedgetpu from Google's package source for Coral; "
            "`edgevision doctor` shows what is there",
        ) from error
    except (ValueError, RuntimeError) as error:
        raise _explain_no_device(name, selection, error) from error


def _explain_no_device(library: str, selection: str, error: Exception) -> DelegateError:
    """Say what is wrong where libedgetpu itself gives an empty reason."""
    count = count_devices(library)
    if count:
        what = f"none of {count} Edge TPU(s) can be opened" + (f" as {selection}" * bool(selection))
        remedy = "another program may hold it, or rights are missing (group plugdev or apex)"
    else:
        what = "no Edge TPU is attached" if count == 0 else "no Edge TPU can be opened"
        remedy = "plug one in, and look at `edgevision doctor`"
    said = summarize(error) if str(error).strip() else ""
    return DelegateError(f"{what} ({said})" if said else what, device=Device.EDGETPU, remedy=remedy)


def _try_in_child(path: str | Path, threads: int | None) -> None:
    try:
        run_isolated(run_once, str(path), threads, timeout_s=_TRIAL_SECONDS)
    except IsolatedCallError as error:
        raise DelegateError(
            f"the Edge TPU's library and this interpreter do not fit together ({error.received})",
            device=Device.EDGETPU,
            remedy="install a libedgetpu that was built for this version of the interpreter",
        ) from error


def run_once(path: str, threads: int | None) -> None:
    """Open a file and run it; belongs into a child process."""
    session = EdgeTpuSession(path, threads=threads)
    session.invoke()
    session.close()
