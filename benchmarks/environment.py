"""What a measurement ran on, so that a number can be understood later."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("edgevision", "ai-edge-litert", "tflite-runtime", "onnxruntime", "numpy")
HIGH_LOAD_PER_CORE = 0.5


def describe_environment() -> dict[str, Any]:
    """Describe machine, software and load; unknown parts are left out.

    Returns:
        ``time`` (UTC, ISO 8601), ``system``, ``machine``, ``processor``, ``cores``, ``python``,
        ``packages``, ``load`` (1-minute average), ``governor`` and ``temperature_c`` where the
        system tells them.
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
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "temperature_c": _temperature_c(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}


def find_disturbances(environment: dict[str, Any]) -> tuple[str, ...]:
    """Say what makes latencies on this machine unreliable right now.

    >>> find_disturbances({"load": 4.0, "cores": 2, "governor": "powersave"})[0]
    'other programs keep the processor busy (load 4.0 on 2 cores): latencies are too high'
    """
    found = []
    load, cores = environment.get("load", 0.0), environment.get("cores") or 1
    if load > HIGH_LOAD_PER_CORE * cores:
        found.append(
            f"other programs keep the processor busy (load {load} on {cores} cores): "
            "latencies are too high"
        )
    if environment.get("governor") == "powersave":
        found.append("the CPU governor is powersave: latencies are those of a slow clock")
    if environment.get("temperature_c", 0) >= 80:
        found.append("the processor is hot: it may be clocked down")
    return tuple(found)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\x00\n ")
    except OSError:
        return ""


def _processor_name() -> str:
    """Read the name from where Linux has it on x86 and on boards such as the Raspberry Pi."""
    board = _read("/proc/device-tree/model")
    names = [
        line.partition(":")[2].strip()
        for line in _read("/proc/cpuinfo").splitlines()
        if line.startswith("model name")
    ]
    return board or (names[0] if names else platform.processor())


def _temperature_c() -> float | None:
    text = _read("/sys/class/thermal/thermal_zone0/temp")
    return int(text) / 1000 if text.lstrip("-").isdecimal() else None
