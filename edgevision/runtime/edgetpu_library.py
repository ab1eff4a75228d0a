"""libedgetpu, the driver of the Edge TPU: its file, its devices, and which of them is meant.

Importing this module costs nothing. The library is opened where a function says so; old builds of
it crash beside newer interpreters, so ``inspect_library`` does it in a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from dataclasses import dataclass

from edgevision.errors import DelegateError, EdgeVisionError, InvalidConfigError, summarize
from edgevision.runtime.isolate import run_isolated
from edgevision.specs import Device

SELECTION = "EDGEVISION_EDGETPU"
"""Environment variable that chooses among several Edge TPUs."""

_LIBRARIES = {
    "Linux": "libedgetpu.so.1",
    "Darwin": "libedgetpu.1.dylib",
    "Windows": "edgetpu.dll",
}
_DEVICE = re.compile(r"(|usb|pci|(usb|pci)?:\d+)")
_KINDS = ("pci", "usb")  # the library's numbers for how a device is attached
_SECONDS = 60.0
INSTALL = "install libedgetpu1-std from Google's package source for Coral"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTpuLibrary:
    """What libedgetpu says of itself and of this machine.

    Attributes:
        name: File name of the library, empty where it does not open.
        version: Its runtime version as it writes it, empty where it does not tell.
        devices: One text for each Edge TPU, for example ``usb:0``, as the variable takes it.
        trouble: Why the library does not open.
        remedy: What to do about it.
    """

    name: str
    version: str = ""
    devices: tuple[str, ...] = ()
    trouble: str = ""
    remedy: str = ""


class _ListedDevice(ctypes.Structure):
    """One entry of the library's list (``struct edgetpu_device`` of its C interface)."""

    _fields_ = (("kind", ctypes.c_int), ("path", ctypes.c_char_p))


def find_library_name() -> str:
    """Return the file name that libedgetpu has on this system.

    Raises:
        DelegateError: There is none for this system.
    """
    system = platform.system()
    if system not in _LIBRARIES:
        raise DelegateError(
            f"there is no libedgetpu for {system}",
            device=Device.EDGETPU,
            remedy="run it on Linux, macOS or Windows",
        )
    return _LIBRARIES[system]


def read_selection() -> str:
    """Read which Edge TPU is meant: ``usb``, ``pci:1``, ``:0`` of any kind, or empty.

    Raises:
        InvalidConfigError: The variable holds anything else.
    """
    value = os.environ.get(SELECTION, "").strip()
    if not _DEVICE.fullmatch(value):
        raise InvalidConfigError(
            "no such Edge TPU",
            received=f"{SELECTION}={value}",
            remedy="use usb, usb:N, pci, pci:N or :N with N from 0, or unset it for any",
        )
    return value


def open_library() -> ctypes.CDLL:
    """Load libedgetpu into this process.

    Raises:
        DelegateError: It is not there, or does not load.
    """
    name = find_library_name()
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise explain_loading(name, error) from error


def explain_loading(name: str, error: Exception) -> DelegateError:
    """Make the error of a libedgetpu that does not load.

    Args:
        name: File name of the library.
        error: What the loader said.
    """
    said = summarize(error)
    if "libusb" in said:
        return DelegateError(
            f"{name} needs libusb ({said})",
            device=Device.EDGETPU,
            remedy="Debian or Ubuntu: apt install libusb-1.0-0",
        )
    absent = ("No such file", "not found", "Could not find")
    if name in said and any(part in said for part in absent):
        return DelegateError(
            f"the Edge TPU's library {name} is not installed",
            device=Device.EDGETPU,
            remedy=INSTALL,
        )
    return DelegateError(
        f"the Edge TPU's library {name} does not load ({said})",
        device=Device.EDGETPU,
        remedy=f"{INSTALL}, for this processor",
    )


def list_devices(library: ctypes.CDLL) -> tuple[str, ...] | None:
    """List the Edge TPUs that the library sees; none is opened.

    Args:
        library: libedgetpu.

    Returns:
        ``usb:0``, ``pci:0`` and so on, in the library's order; ``None`` where it does not tell.
    """
    try:
        listing, free = library.edgetpu_list_devices, library.edgetpu_free_devices
    except AttributeError:
        return None
    listing.restype = ctypes.POINTER(_ListedDevice)
    listing.argtypes = (ctypes.POINTER(ctypes.c_size_t),)
    free.restype, free.argtypes = None, (ctypes.POINTER(_ListedDevice),)
    count = ctypes.c_size_t(0)
    listed = listing(ctypes.byref(count))
    kinds = [listed[i].kind for i in range(count.value)] if listed else []
    if listed:
        free(listed)
    return _number_devices(kinds)


def _number_devices(kinds: list[int]) -> tuple[str, ...]:
    """Name devices as the variable takes them: counted for each way of being attached."""
    names = [_KINDS[kind] if kind < len(_KINDS) else f"kind {kind}" for kind in kinds]
    return tuple(f"{name}:{names[:i].count(name)}" for i, name in enumerate(names))


def is_selected(selection: str, devices: tuple[str, ...]) -> bool:
    """Tell whether one of the devices is the one that is meant.

    >>> [is_selected(name, ("usb:0", "pci:0")) for name in ("", "usb", ":1", "usb:1", ":2")]
    [True, True, True, False, False]
    """
    kind, _, number = selection.partition(":")
    found = [name for name in devices if name.startswith(kind)]
    return bool(found) and (not number or int(number) < len(found))


def inspect_library() -> EdgeTpuLibrary:
    """Ask libedgetpu for its version and devices, in a process of its own.

    Returns:
        What it said. A library that is missing or crashes is told in ``trouble``, not raised.
    """
    try:
        return run_isolated(_inspect, timeout_s=_SECONDS)
    except EdgeVisionError as error:
        trouble = f"libedgetpu did not survive being opened ({error.received})"
        remedy = "install a build that matches the interpreter"
        return EdgeTpuLibrary(name="", trouble=trouble, remedy=remedy)


def _inspect() -> EdgeTpuLibrary:
    """The child's side of ``inspect_library``."""
    try:
        library = open_library()
    except DelegateError as error:
        return EdgeTpuLibrary(name="", trouble=error.what, remedy=error.remedy)
    devices = list_devices(library) or ()
    return EdgeTpuLibrary(name=find_library_name(), version=_read_version(library), devices=devices)


def _read_version(library: ctypes.CDLL) -> str:
    try:
        function = library.edgetpu_version
    except AttributeError:
        return ""
    function.restype, function.argtypes = ctypes.c_char_p, ()
    return (function() or b"").decode(errors="replace")
