"""Functions that end their process as broken native libraries do; run in child processes only."""

from __future__ import annotations

import os
import signal
import time

from edgevision.benchmarks.station import Station
from edgevision.errors import InvalidConfigError


def crash(*_arguments: object) -> None:
    """Die of a segmentation fault."""
    os.kill(os.getpid(), signal.SIGSEGV)


class FragileStation(Station):
    """A station that dies at its first turn where its file is called fragile."""

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        if "fragile" in self._path:
            crash()
        return super().time_block(seconds, refill)


class Counter:
    """Counts its calls, and can end in several ways."""

    def __init__(self, start: int) -> None:
        self._count = start

    def add(self, number: int) -> int:
        self._count += number
        return self._count

    def fail(self) -> None:
        raise ValueError("no such thing")

    def refuse(self) -> None:
        raise InvalidConfigError("not like this", received="that")

    def crash(self) -> None:
        crash()

    def hang(self) -> None:
        time.sleep(60)

    def write(self) -> int:
        return os.write(1, b"native noise")
