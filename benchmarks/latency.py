"""Latency of models that are compared with each other, measured so that the order does not matter.

Models take turns in short blocks, so that a slow moment of the machine hits all of them alike. The
first run of a block is not timed: it brings the model's weights back into the caches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean, median
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.specs import Progress

BLOCK_SECONDS = 0.05
WARMUP_SECONDS = 1.0
STABLE_RATIO = 1.05
WINDOW = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Times of single runs, in milliseconds.

    Attributes:
        samples_ms: Every timed run, in order.
        first_ms: The very first run, which pays for packing weights and allocating memory.
        num_warmup: Runs before the first timed one.
    """

    samples_ms: tuple[float, ...]
    first_ms: float
    num_warmup: int

    def percentile(self, percent: float) -> float:
        """Return the smallest sample that ``percent`` of the samples do not exceed.

        >>> Latency(samples_ms=(3.0, 1.0, 2.0), first_ms=9.0, num_warmup=1).percentile(50)
        2.0
        """
        ordered = sorted(self.samples_ms)
        rank = max(1, -(-len(ordered) * percent // 100))
        return ordered[int(rank) - 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of a benchmark row."""
        return {
            "p50": self.percentile(50),
            "p90": self.percentile(90),
            "mean": fmean(self.samples_ms),
            "min": min(self.samples_ms),
            "n": len(self.samples_ms),
            "first": self.first_ms,
        }


def measure_latencies(
    runs: Sequence[Callable[[], None]],
    *,
    seconds: float = 2.0,
    min_samples: int = 20,
    progress: Progress | None = None,
) -> tuple[Latency, ...]:
    """Time each of ``runs``, interleaved.

    Args:
        runs: One callable per model; a call is one inference.
        seconds: Timed seconds per model.
        min_samples: Timed runs per model at the least, however long they take.
        progress: Called with the timed seconds so far, in hundredths.

    Returns:
        One ``Latency`` per callable, in the same order.

    Raises:
        InvalidConfigError: ``seconds`` or ``min_samples`` is not above 0.
    """
    if not 0 < seconds < inf or min_samples < 1:
        raise InvalidConfigError(
            "a measurement needs time and samples",
            received=f"seconds={seconds}, min_samples={min_samples}",
            remedy="take seconds above 0 and at least 1 sample",
        )
    warmups = [_warm_up(run) for run in runs]
    samples: list[list[float]] = [[] for _ in runs]
    spent = [0.0] * len(runs)
    total = round(100 * seconds * len(runs))
    order = list(range(len(runs)))
    while order := [i for i in order if len(samples[i]) < min_samples or spent[i] < seconds]:
        for i in order:
            block = _time_block(runs[i])
            samples[i] += block
            spent[i] += sum(block) / 1e3
        if progress:
            done = sum(min(s, seconds) for s in spent)
            progress("measuring", min(total, round(100 * done)), total)
        # The next round starts with another model: no one always follows the same neighbour.
        order = order[1:] + order[:1]
    return tuple(
        Latency(samples_ms=tuple(times), first_ms=first, num_warmup=count)
        for times, (first, count) in zip(samples, warmups, strict=True)
    )


def _time_once(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def _time_block(run: Callable[[], None]) -> list[float]:
    """Time runs for one short block; the untimed run at its start refills the caches."""
    run()
    times = [_time_once(run)]
    while sum(times) < BLOCK_SECONDS * 1e3:
        times.append(_time_once(run))
    return times


def _warm_up(run: Callable[[], None]) -> tuple[float, int]:
    """Run until two windows in a row agree; return the first time and the number of runs."""
    times = [_time_once(run)]
    while sum(times) < WARMUP_SECONDS * 1e3 or len(times) < 2:
        times.append(_time_once(run))
        if len(times) <= 2 * WINDOW:
            continue
        before, after = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
        if max(before, after) <= STABLE_RATIO * min(before, after):
            break
    return times[0], len(times)
