"""Latency of models that are compared with each other, measured so that the order does not matter.

Models take turns in short blocks, so that a slow moment of the machine hits all of them alike. The
first run of a block is not timed: it brings the model's weights back into the caches.

Single runs that follow each other are not independent (a slow moment lasts longer than one run),
so intervals are those of the blocks' medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from statistics import fmean, median
from typing import Any, Protocol

from edgevision.errors import EdgeVisionError, InvalidConfigError
from edgevision.specs import Progress

BLOCK_SECONDS = 0.05
WARMUP_SECONDS = 1.0
STABLE_RATIO = 1.05
WINDOW = 5
MIN_SAMPLES = 20
PRECISION = 0.02
MAX_EXTENSION = 3.0
_RUNS_PER_BLOCK = 16
# A longer run empties the caches itself: what others left in them makes no difference to it.
_NEVER_CACHED_MS = 20.0
_NORMAL_95 = 1.96


class Timed(Protocol):
    """What can be measured in turns with others."""

    def warm_up(self) -> tuple[float, int]:
        """Run until the times are stable; return the first time, in ms, and the number of runs."""

    def time_block(self, seconds: float, refill: bool) -> list[float]:
        """Return the times of single runs over about ``seconds``, in ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % confidence interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Times of single runs, in milliseconds.

    Attributes:
        blocks: The timed runs of every turn, in order.
        first_ms: The very first run, which pays for packing weights and allocating memory.
        num_warmup: Runs before the first timed one.
    """

    blocks: tuple[tuple[float, ...], ...]
    first_ms: float
    num_warmup: int

    @property
    def samples_ms(self) -> tuple[float, ...]:
        """Every timed run, in order."""
        return tuple(time for block in self.blocks for time in block)

    @property
    def interval(self) -> Interval:
        """Where the median of the blocks lies, with 95 % confidence."""
        return find_interval([median(block) for block in self.blocks])

    def percentile(self, percent: float) -> float:
        """Return the smallest sample that ``percent`` of the samples do not exceed.

        >>> Latency(blocks=((3.0, 1.0), (2.0,)), first_ms=9.0, num_warmup=1).percentile(50)
        2.0
        """
        ordered = sorted(self.samples_ms)
        rank = max(1, -(-len(ordered) * percent // 100))
        return ordered[int(rank) - 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of a benchmark row."""
        samples, interval = self.samples_ms, self.interval
        return {
            "p50": self.percentile(50),
            "p90": self.percentile(90),
            "p99": self.percentile(99),
            "mean": fmean(samples),
            "min": min(samples),
            "ci95": [interval.low, interval.high],
            "n": len(samples),
            "blocks": len(self.blocks),
            "warmup": self.num_warmup,
            "first": self.first_ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How the time of one model relates to that of another, turn by turn.

    Attributes:
        value: Median over the turns of their medians' quotient.
        interval: Where it lies, with 95 % confidence.
    """

    value: float
    interval: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"value": self.value, "ci95": [self.interval.low, self.interval.high]}


def compare_latencies(one: Latency, other: Latency) -> Ratio:
    """Return the time of ``one`` as a multiple of that of ``other``.

    Turns of the same round are compared with each other: what slowed the machine down then, slowed
    both.

    >>> fast = Latency(blocks=((1.0,), (3.0,)), first_ms=1.0, num_warmup=1)
    >>> slow = Latency(blocks=((2.0,), (6.0,)), first_ms=1.0, num_warmup=1)
    >>> compare_latencies(fast, slow).value
    0.5
    """
    pairs = zip(one.blocks, other.blocks, strict=False)
    quotients = [median(a) / median(b) for a, b in pairs]
    return Ratio(value=median(quotients), interval=find_interval(quotients))


def find_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % confidence interval of the median, from the values' order alone.

    No distribution is assumed (David and Nagaraja, "Order Statistics", 3rd edition, section 7.1,
    with the normal approximation of the binomial). Of fewer than six values it is their range.

    >>> find_interval([1.0, 2.0, 3.0])
    Interval(low=1.0, high=3.0)
    """
    ordered = sorted(values)
    half = _NORMAL_95 * sqrt(len(ordered)) / 2
    low = max(0, int(len(ordered) / 2 - half))
    return Interval(low=ordered[low], high=ordered[len(ordered) - 1 - low])


@dataclass(slots=True)
class _Turns:
    """The measurement of one model while it goes on."""

    timed: Timed
    blocks: list[tuple[float, ...]] = field(default_factory=list)
    first_ms: float = 0.0
    num_warmup: int = 0
    spent: float = 0.0
    failure: EdgeVisionError | None = None

    def is_done(self, seconds: float) -> bool:
        if self.failure is not None:
            return True
        if self.spent < seconds or sum(map(len, self.blocks)) < MIN_SAMPLES:
            return False
        if self.spent >= MAX_EXTENSION * seconds:
            return True
        interval = find_interval([median(block) for block in self.blocks])
        return interval.high - interval.low <= 2 * PRECISION * interval.low

    def start(self) -> None:
        try:
            self.first_ms, self.num_warmup = self.timed.warm_up()
        except EdgeVisionError as error:
            self.failure = error

    def take_turn(self, refill: bool) -> None:
        run_ms = median(self.blocks[-1]) if self.blocks else 0.0
        slow = run_ms > _NEVER_CACHED_MS
        # A slow model gets longer turns: its untimed run must be a small part of them.
        seconds = BLOCK_SECONDS if slow else max(BLOCK_SECONDS, _RUNS_PER_BLOCK * run_ms / 1e3)
        try:
            block = self.timed.time_block(seconds, refill and not slow)
        except EdgeVisionError as error:
            self.failure = error
            return
        self.blocks.append(tuple(block))
        self.spent += sum(block) / 1e3


def measure_latencies(
    stations: Sequence[Timed], *, seconds: float = 3.0, progress: Progress | None = None
) -> tuple[Latency | EdgeVisionError, ...]:
    """Time models in turns.

    Each is measured for ``seconds``, and on until its median is known to 2 %, three times as long
    at the most.

    Args:
        stations: The models.
        seconds: Timed seconds per model at the least.
        progress: Called with the timed seconds so far, in hundredths.

    Returns:
        For each, in the same order, its ``Latency`` or the error that ended it.

    Raises:
        InvalidConfigError: ``seconds`` is not above 0.
    """
    if not 0 < seconds < inf:
        raise InvalidConfigError(
            "a measurement needs time",
            received=f"seconds={seconds}",
            remedy="take seconds above 0",
        )
    turns = [_Turns(timed) for timed in stations]
    for turn in turns:
        turn.start()
    total = round(100 * seconds * len(turns))
    order = list(turns)
    while order := [turn for turn in order if not turn.is_done(seconds)]:
        for turn in order:
            turn.take_turn(refill=len(order) > 1)
        if progress:
            done = sum(min(turn.spent, seconds) for turn in turns)
            progress("measuring", min(total, round(100 * done)), total)
        # The next round starts with another model: no one always follows the same neighbour.
        order = order[1:] + order[:1]
    return tuple(
        turn.failure
        or Latency(blocks=tuple(turn.blocks), first_ms=turn.first_ms, num_warmup=turn.num_warmup)
        for turn in turns
    )


def time_once(run: Callable[[], None]) -> float:
    """Return the time of one run in milliseconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def time_block(run: Callable[[], None], seconds: float, *, refill: bool = True) -> list[float]:
    """Time runs for one turn, in milliseconds.

    Args:
        run: One inference.
        seconds: How long.
        refill: Whether an untimed run comes first, which refills the caches.
    """
    if refill:
        run()
    times = [time_once(run)]
    spent = times[0]
    while spent < seconds * 1e3:
        times.append(time_once(run))
        spent += times[-1]
    return times


def warm_up(run: Callable[[], None]) -> tuple[float, int]:
    """Run until two windows in a row agree; return the first time and the number of runs."""
    times = [time_once(run)]
    spent = times[0]
    while spent < WARMUP_SECONDS * 1e3 or len(times) < 2:
        times.append(time_once(run))
        spent += times[-1]
        if len(times) <= 2 * WINDOW:
            continue
        before, after = median(times[-2 * WINDOW : -WINDOW]), median(times[-WINDOW:])
        if max(before, after) <= STABLE_RATIO * min(before, after):
            break
    return times[0], len(times)
