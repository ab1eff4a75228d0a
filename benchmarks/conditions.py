"""What happened on the machine while it was measured, and what of it spoils the figures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

_CPU = Path("/sys/devices/system/cpu")
_STAT = Path("/proc/stat")
_TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")
# Raspberry Pi: flags of the firmware, the lowest four for the present moment.
_THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
_THROTTLE_FLAGS = (
    "the supply voltage is too low",
    "the processor's clock is capped",
    "the processor is throttled",
    "the processor is at its soft temperature limit",
)
_STEAL_FIELD = 7
_BUSY_FIELDS = (0, 1, 2, 5, 6, _STEAL_FIELD)  # all but idle and waiting for disks

HIGH_LOAD_PER_CORE = 0.5
HIGH_OTHERS_PERCENT = 10.0
HIGH_STEAL_PERCENT = 2.0
LOW_CLOCK_SHARE = 0.8
HOT_C = 80.0


def read_state() -> dict[str, Any]:
    """Read clock, governor and temperature now; what the system does not tell is left out.

    Returns:
        ``governor``, ``frequency_mhz`` and ``max_frequency_mhz`` (means over the cores),
        ``temperature_c``, ``throttling`` (causes in words), ``load`` (1-minute average).
    """
    state: dict[str, Any] = {
        "governor": read_text(_CPU / "cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": _read_mhz("scaling_cur_freq"),
        "max_frequency_mhz": _read_mhz("cpuinfo_max_freq"),
        "temperature_c": _read_temperature_c(),
        "throttling": _read_throttling(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    return {key: value for key, value in state.items() if value not in (None, "", [])}


class Watch:
    """Observes a measurement from its start until ``finish``.

    Args:
        measured: Process identifiers of what is measured, whose work is no disturbance.
    """

    def __init__(self, measured: Iterable[int]) -> None:
        self._pids = (os.getpid(), *measured)
        self._start = time.perf_counter()
        self._own = _read_own_seconds(self._pids)
        self._ticks = _read_ticks()
        self.before = read_state()

    def finish(self) -> dict[str, Any]:
        """Return the conditions under which was measured.

        Returns:
            ``seconds``; ``before`` and ``after`` as of ``read_state``; and where the system tells
            them ``others_percent`` (share of all cores that other programs used) and
            ``steal_percent`` (share that other virtual machines took).
        """
        seconds = time.perf_counter() - self._start
        found: dict[str, Any] = {"seconds": round(seconds, 2)}
        ticks = _read_ticks()
        if ticks and self._ticks:
            spent = [b - a for a, b in zip(self._ticks, ticks, strict=True)]
            total = max(sum(spent[: _STEAL_FIELD + 1]), 1)
            own = (_read_own_seconds(self._pids) - self._own) * os.sysconf("SC_CLK_TCK")
            steal = spent[_STEAL_FIELD]
            others = max(0.0, sum(spent[i] for i in _BUSY_FIELDS) - steal - own)
            found["others_percent"] = round(100 * others / total, 1)
            found["steal_percent"] = round(100 * steal / total, 1)
        return {**found, "before": self.before, "after": read_state()}


def find_disturbances(conditions: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what makes latencies measured under such conditions unreliable.

    Args:
        conditions: As ``Watch.finish`` returns them.

    >>> find_disturbances({"others_percent": 40.0})[0]
    'other programs used 40 % of the processor meanwhile: latencies are too high'
    """
    return tuple(text for rule in _RULES if (text := rule(conditions)))


def _tell_others(conditions: Mapping[str, Any]) -> str:
    others = conditions.get("others_percent", 0.0)
    if others <= HIGH_OTHERS_PERCENT:
        return ""
    return f"other programs used {others:.0f} % of the processor meanwhile: latencies are too high"


def _tell_load(conditions: Mapping[str, Any]) -> str:
    """Fall back on the load before the measurement where nothing better is known."""
    load = conditions.get("before", {}).get("load", 0.0)
    cores = os.cpu_count() or 1
    if "others_percent" in conditions or load <= HIGH_LOAD_PER_CORE * cores:
        return ""
    return (
        f"other programs keep the processor busy (load {load} on {cores} cores): "
        "latencies are too high"
    )


def _tell_steal(conditions: Mapping[str, Any]) -> str:
    steal = conditions.get("steal_percent", 0.0)
    if steal <= HIGH_STEAL_PERCENT:
        return ""
    return f"other virtual machines took {steal:.0f} % of the processor: latencies are too high"


def _tell_governor(conditions: Mapping[str, Any]) -> str:
    if conditions.get("before", {}).get("governor") != "powersave":
        return ""
    return "the CPU governor is powersave: latencies are those of a slow clock"


def _tell_clock(conditions: Mapping[str, Any]) -> str:
    after = conditions.get("after", {})
    clock, highest = after.get("frequency_mhz"), after.get("max_frequency_mhz")
    if not clock or not highest or clock >= LOW_CLOCK_SHARE * highest:
        return ""
    return f"the clock was at {clock:.0f} of {highest:.0f} MHz when the measurement ended"


def _tell_heat(conditions: Mapping[str, Any]) -> str:
    hottest = max(conditions.get(w, {}).get("temperature_c", 0.0) for w in ("before", "after"))
    return (
        f"the processor is hot ({hottest:.0f} °C): it may be clocked down"
        if hottest >= HOT_C
        else ""
    )


def _tell_throttling(conditions: Mapping[str, Any]) -> str:
    causes = conditions.get("after", {}).get("throttling", [])
    return f"{', '.join(causes)}: latencies are too high" if causes else ""


_RULES: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    _tell_others,
    _tell_load,
    _tell_steal,
    _tell_governor,
    _tell_clock,
    _tell_heat,
    _tell_throttling,
)


def read_text(path: str | Path) -> str:
    """Read a file of the system; empty where it does not exist."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\x00\n ")
    except OSError:
        return ""


def _read_ticks() -> list[int]:
    """Read the processor's time by kind, all cores together, in clock ticks."""
    words = read_text(_STAT).partition("\n")[0].split()
    return [int(word) for word in words[1:]] if len(words) > _STEAL_FIELD + 1 else []


def _read_own_seconds(pids: Iterable[int]) -> float:
    """Add up the processor time of processes; one that has ended counts no more."""
    tick = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
    total = 0.0
    for pid in pids:
        # The name in brackets may hold spaces; user and system time are the 14th and 15th field.
        words = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
        total += sum(int(word) for word in words[11:13]) / tick
    return total


def _read_mhz(name: str) -> float | None:
    texts = [read_text(path) for path in sorted(_CPU.glob(f"cpu[0-9]*/cpufreq/{name}"))]
    values = [int(text) / 1000 for text in texts if text.isdecimal()]
    return round(sum(values) / len(values)) if values else None


def _read_temperature_c() -> float | None:
    text = read_text(_TEMPERATURE)
    return int(text) / 1000 if text.lstrip("-").isdecimal() else None


def _read_throttling() -> list[str]:
    try:
        flags = int(read_text(_THROTTLED), 16)
    except ValueError:
        return []
    return [cause for bit, cause in enumerate(_THROTTLE_FLAGS) if flags >> bit & 1]
