"""Where the Edge TPU's library is, which device it takes, and how many it sees.

Imports nothing heavy: ``doctor`` asks here too.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re

from edgevision.errors import InvalidConfigError

SELECTION = "EDGEVISION_EDGETPU"
LIBRARIES = {
    "Linux": "libedgetpu.so.1",
    "Darwin": "libedgetpu.1.dylib",
    "Windows": "edgetpu.dll",
}
_DEVICE = re.compile(r"(|usb|pci|(usb|pci)?:\d+)")


def name_library() -> str:
    """Return what libedgetpu is called on this system."""
    return LIBRARIES.get(platform.system(), LIBRARIES["Linux"])


def read_selection() -> str:
    """Return the device that ``EDGEVISION_EDGETPU`` names, empty for any.

    Raises:
        InvalidConfigError: It is none of libedgetpu's names.
    """
    chosen = os.environ.get(SELECTION, "")
    if not _DEVICE.fullmatch(chosen):
        raise InvalidConfigError(
            "not the name of an Edge TPU",
            received=f"{SELECTION}={chosen}",
            remedy="usb, usb:1, pci or pci:0, or leave it unset",
        )
    return chosen


def count_devices(library: str) -> int | None:
    """Count the devices that libedgetpu sees; ``None`` where it does not tell.

    Args:
        library: Name or path of the library.
    """
    try:
        handle = ctypes.CDLL(library)
        count = ctypes.c_size_t(0)
        handle.edgetpu_list_devices.restype = ctypes.c_void_p
        devices = handle.edgetpu_list_devices(ctypes.byref(count))
        handle.edgetpu_free_devices.argtypes = [ctypes.c_void_p]
        handle.edgetpu_free_devices(devices)
    except (OSError, AttributeError):
        return None
    return count.value
