"""Learning rate by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgevision.errors import InvalidConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineSchedule:
    """A linear warm-up, then half a cosine down to 0 (Loshchilov and Hutter 2017, no restarts).

    A pure function of the step: a resumed run continues on the same curve.

    Attributes:
        peak: Learning rate at the end of the warm-up.
        steps: Steps of the whole schedule.
        warmup_steps: Steps of the climb, fewer than ``steps``.

    >>> schedule = CosineSchedule(peak=1.0, steps=8, warmup_steps=4)
    >>> [round(schedule(step), 3) for step in range(9)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    peak: float
    steps: int
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.peak <= 0 or self.steps < 1 or not 0 <= self.warmup_steps < self.steps:
            raise InvalidConfigError(
                "a schedule has a peak above 0 and fewer warm-up steps than steps",
                received=f"peak={self.peak} steps={self.steps} warmup_steps={self.warmup_steps}",
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate of ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / (self.steps - self.warmup_steps))
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))


def plan_cosine(peak: float, *, steps: int, warmup_fraction: float) -> CosineSchedule:
    """Return a schedule whose warm-up is a share of its steps."""
    warmup_steps = min(round(steps * warmup_fraction), steps - 1)
    return CosineSchedule(peak=peak, steps=steps, warmup_steps=warmup_steps)
