"""What one file costs in time against another, measured side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.runtime.native_log import hide_announcements

_WARM_UP, _MIN_RUNS, _MAX_RUNS = 3, 15, 200
_SECONDS = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Latency on the CPU of this machine.

    Attributes:
        latency_ms: Median of one inference.
        ratio: Of the medians, against the file it was compared with in the same runs.
    """

    latency_ms: float
    ratio: float


def measure_price(model: bytes, reference: bytes, *, threads: int = 1) -> Price:
    """Time two models in turns, so that a busy machine slows both.

    Args:
        model: Bytes of a ``.tflite``.
        reference: Bytes of the one that it is compared with.
        threads: Of the interpreters.
    """
    interpreters = [_open(data, threads) for data in (model, reference)]
    times = [list[float](), list[float]()]
    end = time.perf_counter() + _SECONDS
    while len(times[0]) < _MIN_RUNS or (time.perf_counter() < end and len(times[0]) < _MAX_RUNS):
        for interpreter, seen in zip(interpreters, times, strict=True):
            start = time.perf_counter()
            interpreter.invoke()
            seen.append(time.perf_counter() - start)
    medians = [float(np.median(seen[_WARM_UP:])) for seen in times]
    return Price(latency_ms=1e3 * medians[0], ratio=medians[0] / medians[1])


def _open(model: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with hide_announcements():
        interpreter = Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter
