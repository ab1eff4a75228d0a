"""What training tells while it runs: small immutable events to a callback, nothing printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """The parts of a training run, in order."""

    LOAD = "load images"
    FEATURES = "extract features"
    HEAD = "train head"
    FINE_TUNE = "train network"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEvent:
    """Where training stands.

    Attributes:
        phase: What is being done.
        epoch: Current epoch of the phase, from 1.
        epochs: Epochs that the phase will have if it does not stop early.
        step: Steps done in this epoch; for loading, images done.
        steps: Steps of this epoch; for loading, images.
        images_per_second: Training images per second in this epoch, 0 before the first step.
        seconds_left: Estimate for the rest of the phase, ``None`` before the first step.
        metrics: Figures of the epoch; complete (with ``val_accuracy`` …) when the epoch is done.
    """

    phase: Phase
    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float = 0.0
    seconds_left: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def epoch_done(self) -> bool:
        """Whether this event ends its epoch."""
        return self.step >= self.steps


EventCallback = Callable[[TrainingEvent], None]
"""Called often, from the thread that trains: it should return quickly."""

_INTERVAL_SECONDS = 0.1


class Meter:
    """Measures one epoch and reports it, at most ten times a second.

    Args:
        report: Receives the events; ``None`` measures only.
        phase: What is being done.
        epoch: Current epoch, from 1.
        epochs: Epochs of the phase.
        steps: Steps of this epoch.
    """

    def __init__(
        self, report: EventCallback | None, *, phase: Phase, epoch: int, epochs: int, steps: int
    ) -> None:
        self.phase, self.epoch, self.epochs, self.steps = phase, epoch, epochs, steps
        self._report = report
        self._started = self._reported = time.monotonic()
        self._images = 0
        self._step = 0
        self._send({})

    @property
    def seconds(self) -> float:
        """Seconds since the epoch began."""
        return time.monotonic() - self._started

    @property
    def images_per_second(self) -> float:
        """Images per second so far."""
        return self._images / max(self.seconds, 1e-9)

    def advance(self, num_images: int) -> None:
        """Count one step."""
        self._step += 1
        self._images += num_images
        # The last step is reported by `finish`, together with the figures of the epoch.
        due = time.monotonic() - self._reported > _INTERVAL_SECONDS
        if due and self._step < self.steps:
            self._send({})

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Report the end of the epoch with its figures."""
        self._step = self.steps
        self._send(metrics)

    def _send(self, metrics: Mapping[str, float]) -> None:
        if self._report is None:
            return
        self._reported = time.monotonic()
        self._report(
            TrainingEvent(
                phase=self.phase,
                epoch=self.epoch,
                epochs=self.epochs,
                step=self._step,
                steps=self.steps,
                images_per_second=self.images_per_second if self._step else 0.0,
                seconds_left=self._estimate_seconds_left(),
                metrics=dict(metrics),
            )
        )

    def _estimate_seconds_left(self) -> float | None:
        if not self._step:
            return None
        left = self.steps - self._step + (self.epochs - self.epoch) * self.steps
        return self.seconds / self._step * left
