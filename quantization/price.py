"""What one file costs in time against another, measured side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.runtime.native_log import hide_announcements

# Slow models, such as large ones on reference kernels, are timed a few times only: they vary less,
# and every file that is tried waits for it.
_MIN_RUNS, _MAX_RUNS = 5, 200
_SECONDS, _LONGEST_SECONDS = 0.6, 5.0
# A turn has a few runs: what the other model left in the caches slows the first one.
_TURN_RUNS, _TURN_SECONDS = 5, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Latency on the CPU of this machine.

    Attributes:
        latency_ms: Median of one inference.
        ratio: Of the medians, against the file it was compared with in the same runs.
    """

    latency_ms: float
    ratio: float


def measure_price(model: bytes, reference: bytes | None = None, *, threads: int = 1) -> Price:
    """Time two models in turns, so that a busy machine slows both.

    Args:
        model: Bytes of a ``.tflite``.
        reference: Bytes of the one that it is compared with; ``None`` where it is that one itself.
        threads: Of the interpreters.
    """
    pair = [model] if reference is None else [model, reference]
    interpreters = [_open(data, threads) for data in pair]
    times = [list[float]() for _ in pair]
    start = time.perf_counter()
    while not _is_enough(len(times[0]), time.perf_counter() - start):
        for interpreter, seen in zip(interpreters, times, strict=True):
            seen.extend(_take_turn(interpreter))
    medians = [float(np.median(seen)) for seen in times]
    return Price(latency_ms=1e3 * medians[0], ratio=medians[0] / medians[-1])


def _take_turn(interpreter: Any) -> list[float]:
    """Run a model a few times in a row; return seconds without those of the first run."""
    seen = list[float]()
    while len(seen) < _TURN_RUNS and sum(seen) < _TURN_SECONDS:
        start = time.perf_counter()
        interpreter.invoke()
        seen.append(time.perf_counter() - start)
    return seen[1:] or seen


def _is_enough(runs: int, seconds: float) -> bool:
    """Whether so many runs, which took so long together, tell the median.

    >>> _is_enough(200, 0.1), _is_enough(4, 0.7), _is_enough(5, 0.7), _is_enough(2, 9.0)
    (True, False, True, True)
    """
    if seconds >= _LONGEST_SECONDS:
        return runs > 0
    return runs >= (_MIN_RUNS if seconds >= _SECONDS else _MAX_RUNS)


def _open(model: bytes, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with hide_announcements():
        interpreter = Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter
