"""What a measurement ran on, so that a number can be understood later."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgevision.benchmarks.conditions import read_text

PACKAGES = ("edgevision", "ai-edge-litert", "tflite-runtime", "onnxruntime", "numpy")


def describe_environment() -> dict[str, Any]:
    """Describe machine and software; unknown parts are left out.

    Returns:
        ``time`` (UTC, ISO 8601), ``system``, ``machine``, ``processor``, ``cores``, ``python``,
        ``packages``.
    """
    facts: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: v for name in PACKAGES if (v := _version(name))},
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor_name() -> str:
    """Read the name from where Linux has it on x86 and on boards such as the Raspberry Pi."""
    board = read_text("/proc/device-tree/model")
    names = [
        line.partition(":")[2].strip()
        for line in read_text("/proc/cpuinfo").splitlines()
        if line.startswith("model name")
    ]
    return board or (names[0] if names else platform.processor())
