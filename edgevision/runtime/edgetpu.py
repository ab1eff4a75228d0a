"""Compiled ``.tflite`` files on a Coral Edge TPU, through Google's libedgetpu.

Old builds of that library end the process where a newer interpreter loads them, so that each file
is first run in a child process. What fails there is told; the CPU never takes over.
"""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import DelegateError, InvalidConfigError, summarize
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.doctor import find_edgetpu_devices, name_edgetpu_library
from edgevision.runtime.isolate import IsolatedCallError, run_isolated
from edgevision.runtime.litert import LiteRtSession, find_interpreter
from edgevision.runtime.native_log import hide_announcements
from edgevision.runtime.session import Placement
from edgevision.specs import Device

UNIT_VARIABLE = "EDGEVISION_EDGETPU"
"""Environment variable that chooses among several accelerators."""

_UNIT = re.compile(r"(usb|pci)?(:\d+)?")
_TRIAL_SECONDS = 60.0


class EdgeTpuSession(LiteRtSession):
    """A file that ``edgetpu_compiler`` wrote, on an Edge TPU; what it left runs on the CPU.

    Not thread-safe: use one session per thread.

    Args:
        path: The compiled file.
        threads: Threads of the interpreter for what is left on the CPU.
        unit: Which accelerator: ``usb``, ``pci``, ``usb:0``, ``:1`` …; empty for any. By default
            what the environment variable ``EDGEVISION_EDGETPU`` names.

    Raises:
        DelegateError: The file is not compiled, the library or the device is missing, or the
            library crashed.
        InvalidConfigError: ``unit`` is of another form.
        InvalidModelError: The file is damaged.
        BackendUnavailableError: No interpreter is installed.
    """

    def __init__(self, path: str | Path, *, threads: int, unit: str | None = None) -> None:
        self.path = Path(path)
        self.threads = threads
        unit = parse_unit(os.environ.get(UNIT_VARIABLE, "") if unit is None else unit)
        self._names = _list_names(self.path)
        _try_apart(self.path, unit, threads)
        _, self._distribution = find_interpreter()
        self._note = ""
        self._adopt(_open_on_edgetpu(self.path, unit, threads))

    def placement(self) -> Placement:
        """Tell what the compiler mapped; each of its operations is one partition."""
        mapped = [name == COMPILED_OP for name in self._names]
        numbers = np.cumsum(mapped) - 1
        return Placement(
            device=Device.EDGETPU,
            total_ops=len(mapped),
            delegated_ops=sum(mapped),
            partitions=sum(mapped),
            delegate="EdgeTPU",
            partition_of=tuple(
                int(number) if on else -1 for on, number in zip(mapped, numbers, strict=True)
            ),
        )


def parse_unit(text: str) -> str:
    """Check the name of an accelerator, in libedgetpu's own form.

    Raises:
        InvalidConfigError: It has another form.

    >>> parse_unit("usb:0"), parse_unit("")
    ('usb:0', '')
    """
    if not _UNIT.fullmatch(text):
        raise InvalidConfigError(
            "no such name of an Edge TPU",
            received=f"{UNIT_VARIABLE}={text}",
            remedy="use usb, pci, usb:0, pci:0 or :0; empty takes any",
        )
    return text


def _list_names(path: Path) -> list[str]:
    names = [op.name for op in read_tflite(path).ops]
    if COMPILED_OP not in names:
        raise DelegateError(
            f"{path} is not compiled for the Edge TPU",
            device=Device.EDGETPU,
            remedy="run edgetpu_compiler on the int8 file, and give the *_edgetpu.tflite",
        )
    return names


def _try_apart(path: Path, unit: str, threads: int) -> None:
    """Run the file once in a process of its own."""
    try:
        run_isolated(run_once, str(path), unit, threads, timeout_s=_TRIAL_SECONDS)
    except IsolatedCallError as error:
        raise DelegateError(
            f"the Edge TPU library did not survive a first run: {error.received}",
            device=Device.EDGETPU,
            remedy="old builds of libedgetpu crash in newer interpreters: install a newer build, "
            "or the tflite-runtime of its age",
        ) from error


def run_once(path: str, unit: str, threads: int) -> None:
    """Open a file on the Edge TPU and run it on zeros; for a child process.

    Raises:
        DelegateError: The library or the device is missing, or refuses the file.
    """
    interpreter = _open_on_edgetpu(Path(path), unit, threads)
    try:
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        raise _refuse(f"the Edge TPU failed while running: {summarize(error)}") from error


def _open_on_edgetpu(path: Path, unit: str, threads: int) -> Any:
    runtime, _ = find_interpreter()
    delegate = _load_delegate(runtime, unit)
    try:
        with hide_announcements():
            interpreter = runtime.Interpreter(
                model_path=str(path), num_threads=threads, experimental_delegates=[delegate]
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _refuse(f"the Edge TPU refuses {path}: {summarize(error)}") from error
    return interpreter


def _load_delegate(runtime: Any, unit: str) -> Any:
    library = name_edgetpu_library()
    try:
        # The interpreter's own wrapper leaves a half-made object behind where this fails.
        ctypes.CDLL(library)
        return runtime.load_delegate(library, {"device": unit} if unit else {})
    except OSError as error:
        raise DelegateError(
            f"the Edge TPU library can not be loaded: {summarize(error)}",
            device=Device.EDGETPU,
            remedy="install libedgetpu from Google's package source for Coral",
        ) from error
    except (ValueError, AttributeError) as error:
        seen = ", ".join(find_edgetpu_devices()) or "none"
        wanted = f"{unit!r} " if unit else ""
        raise DelegateError(
            f"no Edge TPU {wanted}can be opened; the system shows {seen}",
            device=Device.EDGETPU,
            remedy="plug in a Coral accelerator that no other program uses, and see that this "
            "user may open it (udev rules come with libedgetpu)",
        ) from error


def _refuse(what: str) -> DelegateError:
    return DelegateError(
        what,
        device=Device.EDGETPU,
        remedy="update libedgetpu, or compile with the --min_runtime_version that it has",
    )
