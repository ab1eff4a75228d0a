"""Looking for a GPU in a process of its own; importing this module costs nothing."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from edgevision.errors import DelegateError, EdgeVisionError
from edgevision.runtime.isolate import run_isolated
from edgevision.runtime.session import Adapter

_LOADERS = ("libvulkan.so.1", "libvulkan.so", "vulkan-1.dll", "libvulkan.1.dylib")
_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuParts:
    """What running on a GPU needs, as found on this machine.

    Attributes:
        loader: File name of the Vulkan loader, empty where there is none.
        adapter: The GPU that would run a model, ``None`` where there is none.
        trouble: Why there is none.
        remedy: What to do about it.
    """

    loader: str
    adapter: Adapter | None = None
    trouble: str = ""
    remedy: str = ""


def find_gpu_parts() -> GpuParts:
    """Look for a Vulkan loader and a GPU; drivers are loaded in a child process only.

    Returns:
        What was found. A driver that crashes is an error among it, not of this function.
    """
    try:
        return run_isolated(_find_parts, timeout_s=_SECONDS)
    except EdgeVisionError as error:
        trouble = f"the GPU's driver did not survive being opened ({error.received})"
        return GpuParts(loader="", trouble=trouble, remedy="update the driver")


def _find_parts() -> GpuParts:
    """The child's side of ``find_gpu_parts``."""
    from edgevision.runtime.gpu import find_adapter

    loader = next(filter(_can_load, _LOADERS), "")
    try:
        return GpuParts(loader=loader, adapter=find_adapter())
    except DelegateError as error:
        return GpuParts(loader=loader, trouble=error.what, remedy=error.remedy)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
