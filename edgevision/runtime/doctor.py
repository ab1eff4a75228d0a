"""What is installed on this machine, what is missing, and how to get it.

Only looks: nothing heavy is imported. The GPU is opened and the Edge TPU's library asked, each in a
process of its own, because nothing else tells whether a driver works.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgevision.runtime.edgetpu_library import (
    SELECTION,
    EdgeTpuLibrary,
    inspect_library,
)
from edgevision.runtime.gpu_adapter import GpuParts, find_gpu_parts
from edgevision.threads import count_cores, resolve_threads

_MIN_FREE_BYTES = 1 << 30
_GPU_LIBRARIES = ("libLiteRtWebGpuAccelerator.so", "libLiteRtWebGpuAccelerator.dll")
_CPU_FEATURES = {
    "asimd": "NEON",
    "neon": "NEON",
    "asimdhp": "fp16",
    "fphp": "fp16",
    "asimddp": "dot product",
    "i8mm": "i8mm",
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "VNNI",
}
# USB identifiers of the Coral accelerator before and after its firmware is loaded.
_EDGETPU_USB_IDS = frozenset((("1a6e", "089a"), ("18d1", "9302")))


class Status(StrEnum):
    """What can be said about a part."""

    OK = "ok"
    MISSING = "missing"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of software or hardware that edgevision can use.

    Attributes:
        name: What it is and, in brackets, what it is for.
        status: ``unsupported`` where it is too old or can not be used on this machine.
        version: Version or description, empty when missing.
        remedy: How to get it; empty when there is nothing to do.
    """

    name: str
    status: Status
    version: str = ""
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "name": self.name,
            "status": str(self.status),
            "version": self.version,
            "remedy": self.remedy,
        }


_PACKAGES = (
    # distribution names, what it is for, the extra that brings it
    (("numpy",), "arrays", ""),
    (("pillow",), "image files", ""),
    (("tensorflow", "tensorflow-cpu"), "build, train, convert", "tf"),
    (("onnxruntime", "onnxruntime-gpu"), "run .onnx files", "onnx"),
    (("onnx",), "read and check .onnx files", "onnx"),
    (("tf2onnx",), "convert to .onnx", "onnx"),
    (("ai-edge-quantizer", "ai-edge-quantizer-nightly"), "quantize", "quantize"),
    (("pycocotools",), "detection accuracy", "eval"),
    (("jinja2",), "HTML report", "report"),
    (("matplotlib",), "plots", "report"),
    (("opencv-python-headless", "opencv-python"), "videos and cameras", "video"),
)


def inspect_parts() -> list[Part]:
    """Look at interpreter, packages, delegates, devices and the machine itself.

    Returns:
        One entry per part, in the order in which a person would ask.
    """
    packages = [_inspect_package(*row) for row in _PACKAGES]
    return [
        _inspect_python(),
        *packages[:2],
        *_inspect_interpreters(),
        *packages[2:],
        _inspect_cpu(),
        *_inspect_gpu(),
        *_inspect_edgetpu(),
        _inspect_disk(),
    ]


def _inspect_python() -> Part:
    supported = sys.version_info >= (3, 11)
    return Part(
        name="python",
        status=Status.OK if supported else Status.UNSUPPORTED,
        version=f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        remedy="" if supported else "use Python 3.11 or later",
    )


def _inspect_package(names: tuple[str, ...], purpose: str, extra: str) -> Part:
    found = find_version(*names)
    install = f"'edgevision[{extra}]'" if extra else names[0]
    return Part(
        name=f"{names[0]} ({purpose})",
        status=Status.OK if found else Status.MISSING,
        version=found,
        remedy="" if found else f"pip install {install}",
    )


def find_version(*names: str) -> str:
    """Return the version of the first distribution that is installed, or an empty string."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _inspect_interpreters() -> list[Part]:
    """The interpreters of .tflite files, in the order in which a session looks for them."""
    litert, older, tensorflow = (
        find_version(name) for name in ("ai-edge-litert", "tflite-runtime", "tensorflow")
    )
    return [
        _inspect_litert(litert, bool(older or tensorflow)),
        _inspect_tflite_runtime(older, bool(litert or tensorflow)),
    ]


def _inspect_litert(found: str, replaced: bool) -> Part:
    if found:
        return Part(
            name="ai-edge-litert (run .tflite files)",
            status=Status.OK,
            version=f"{found} with XNNPACK",
        )
    wheel_exists = platform.machine() not in ("armv7l", "armv6l")
    remedy = "pip install ai-edge-litert" if wheel_exists else "has no package for 32-bit Arm"
    return Part(
        name="ai-edge-litert (run .tflite files)",
        status=Status.MISSING if wheel_exists else Status.UNSUPPORTED,
        remedy=remedy + ("; another interpreter is used instead" if replaced else ""),
    )


def _inspect_tflite_runtime(found: str, replaced: bool) -> Part:
    name = "tflite-runtime (older interpreter)"
    numpy_version = find_version("numpy")
    if found and not numpy_version.startswith("1."):
        return Part(
            name=name,
            status=Status.UNSUPPORTED,
            version=found,
            remedy=f"needs numpy below 2, found {numpy_version}: pip install 'numpy<2'",
        )
    if found:
        return Part(name=name, status=Status.OK, version=f"{found} with XNNPACK for float models")
    if sys.version_info >= (3, 12):
        return Part(name=name, status=Status.UNSUPPORTED, remedy="ends at Python 3.11; not needed")
    remedy = "not needed" if replaced else "pip install 'edgevision[tflite-runtime]'"
    return Part(name=name, status=Status.MISSING, remedy=remedy)


def _inspect_cpu() -> Part:
    features = dict.fromkeys(
        _CPU_FEATURES[flag] for flag in _read_cpu_flags() if flag in _CPU_FEATURES
    )
    cores = count_cores()
    known = ", ".join(features) or "features unknown"
    return Part(
        name="cpu",
        status=Status.OK,
        version=f"{cores} cores, {resolve_threads(None)} threads by default, {known}",
    )


def _read_cpu_flags() -> list[str]:
    """Read the instruction sets of the first core, as Linux names them."""
    for line in _read_text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return value.split()
    return []


def _inspect_gpu() -> list[Part]:
    library = _find_gpu_library()
    # Without the library nothing of it can be asked; the loader is looked for all the same.
    found = find_gpu_parts()
    no_package = "ai-edge-litert has it on Linux (x86-64, aarch64) and Windows"
    needs_loader = platform.system() == "Linux"
    no_loader = Status.MISSING if needs_loader else Status.UNSUPPORTED
    return [
        Part(
            name="gpu accelerator library",
            status=Status.OK if library else Status.MISSING,
            version=library,
            remedy="" if library else no_package,
        ),
        Part(
            name="vulkan loader (for the GPU)",
            status=Status.OK if found.loader else no_loader,
            version=found.loader,
            remedy=""
            if found.loader
            else "Debian or Ubuntu: apt install libvulkan1"
            if needs_loader
            else "not needed on this system",
        ),
        _describe_adapter(found),
    ]


def _describe_adapter(found: GpuParts) -> Part:
    name, adapter = "gpu", found.adapter
    if adapter is None:
        remedy = f"{found.trouble}: {found.remedy}"
        return Part(name=name, status=Status.MISSING, remedy=remedy)
    return Part(
        name=name,
        status=Status.OK,
        version=f"{adapter.name} ({adapter.kind}, {adapter.api}), {adapter.precision} by default",
        remedy="a program on the CPU, for checks only: install the driver of a real GPU"
        if adapter.software
        else "",
    )


def _find_gpu_library() -> str:
    spec = find_spec("ai_edge_litert")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = (name for name in _GPU_LIBRARIES for f in folders if Path(f, name).exists())
    return next(found, "")


def _inspect_edgetpu() -> list[Part]:
    library = inspect_library()
    compiler = shutil.which("edgetpu_compiler") or ""
    can_compile = platform.system() == "Linux" and platform.machine() == "x86_64"
    no_compiler = Status.MISSING if can_compile else Status.UNSUPPORTED
    return [
        Part(
            name="edge tpu library (libedgetpu)",
            status=Status.OK if library.name else Status.MISSING,
            version=" ".join(filter(None, (library.name, library.version))),
            remedy="" if library.name else f"{library.trouble}: {library.remedy}",
        ),
        _describe_edgetpus(library),
        Part(
            name="edgetpu_compiler",
            status=Status.OK if compiler else no_compiler,
            version=compiler,
            remedy=""
            if compiler
            else "install edgetpu-compiler from Google's package source for Coral"
            if can_compile
            else "runs on x86-64 Linux only",
        ),
    ]


def _describe_edgetpus(library: EdgeTpuLibrary) -> Part:
    """Tell what libedgetpu can open, and what the system alone sees."""
    name, seen = "edge tpu devices", find_edgetpu_devices()
    if library.devices:
        choose = f"{SELECTION} chooses one" if len(library.devices) > 1 else ""
        listed = ", ".join(library.devices)
        return Part(name=name, status=Status.OK, version=listed, remedy=choose)
    if not seen:
        return Part(name=name, status=Status.MISSING, remedy="plug in a Coral accelerator")
    remedy = (
        "libedgetpu does not list it: check that this user may open it (udev rule of libedgetpu; "
        "groups plugdev or apex)"
        if library.name
        else "it needs the library above"
    )
    return Part(name=name, status=Status.UNSUPPORTED, version=", ".join(seen), remedy=remedy)


def find_edgetpu_devices() -> list[str]:
    """List Coral accelerators on USB and PCIe as Linux shows them; nothing is opened."""
    found = [str(path) for path in sorted(Path("/dev").glob("apex_*"))]
    for device in sorted(Path("/sys/bus/usb/devices").glob("*")):
        identity = _read_text(device / "idVendor"), _read_text(device / "idProduct")
        if identity in _EDGETPU_USB_IDS:
            found.append(f"usb {device.name}")
    return found


def _inspect_disk() -> Part:
    folder = tempfile.gettempdir()
    free_bytes = shutil.disk_usage(folder).free
    enough = free_bytes >= _MIN_FREE_BYTES
    return Part(
        name="disk (temporary files)",
        status=Status.OK if enough else Status.UNSUPPORTED,
        version=f"{free_bytes / (1 << 30):.1f} GiB free in {folder}",
        remedy="" if enough else "free at least 1 GiB, or set TMPDIR",
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
