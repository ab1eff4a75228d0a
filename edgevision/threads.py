"""How many threads a model, or the decoding of images, gets when nobody says."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from edgevision.errors import InvalidConfigError

MAX_DEFAULT_THREADS = 4
"""Small networks gain nothing from more, and phones and Raspberry Pis have four fast cores."""

MAX_THREADS = 1024
"""Interpreters crash when they are asked for more threads than the system grants."""

_CPU_FOLDER = Path("/sys/devices/system/cpu")
_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")


def resolve_threads(threads: int | None) -> int:
    """Return a checked number of threads; by default the usable physical cores, at most 4.

    Args:
        threads: A number from 1 to 1024, or ``None`` for the default.

    Raises:
        InvalidConfigError: The number is out of range or not an integer.

    >>> resolve_threads(3)
    3
    """
    if threads is None:
        return min(count_cores(), MAX_DEFAULT_THREADS)
    whole = isinstance(threads, int) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MAX_THREADS:
        raise InvalidConfigError(
            f"threads must be an integer from 1 to {MAX_THREADS}",
            received=f"threads={threads!r}",
            remedy="leave it out for the default",
        )
    return threads


@cache
def count_cores() -> int:
    """Count the physical cores that this process may use (affinity and container quota)."""
    cpus = _list_usable_cpus()
    cores = {_read_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _read_quota(len(cores))))


def _list_usable_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _read_siblings(cpu: int) -> str:
    """Name the physical core of a logical CPU by the list of its hyper-threads."""
    try:
        return (_CPU_FOLDER / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _read_quota(default: int) -> int:
    """Read the whole CPUs that a container may use, rounded up."""
    try:
        quota, period = _QUOTA_FILE.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup, or "max"
        return default
