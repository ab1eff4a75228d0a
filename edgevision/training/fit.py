"""The epochs of one phase: steps, judgement, history, best weights, checkpoint, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.training.checkpoints import RunState
from edgevision.training.events import EventCallback, Meter, Phase
from edgevision.training.learner import Batch, Learner
from edgevision.training.runs import RunFolder
from edgevision.training.schedules import CosineSchedule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhasePlan:
    """One phase of training.

    Attributes:
        phase: Its name.
        epochs: Most epochs.
        steps: Steps per epoch.
        schedule: Learning rate by step of the phase.
        early_stopping: Epochs without improvement before it ends; 0 for never.
        seed: Seeds what each epoch draws.
        batches: From a first step on, an iterable of (inputs, targets, seed) to the phase's end.
        val_batches: Everything to judge by, iterated once per epoch.
    """

    phase: Phase
    epochs: int
    steps: int
    schedule: CosineSchedule
    early_stopping: int
    seed: int
    batches: Callable[[int], Iterable[Batch]]
    val_batches: Iterable[Batch]


def run_phase(
    plan: PhasePlan,
    learner: Learner,
    *,
    state: RunState,
    run: RunFolder,
    report: EventCallback | None,
) -> None:
    """Train from ``state`` to the end of the phase, and leave the best weights in the learner.

    Every finished epoch is on disk before the next one begins.

    Args:
        plan: The phase.
        learner: Holds the weights; already restored when the phase is resumed.
        state: Changed in place.
        run: Receives history and checkpoints.
        report: Receives the events.

    Raises:
        OutputError: A checkpoint can not be written; what was written before is kept.
        InvalidConfigError: The loss is no longer a number.
    """
    batches = iter(plan.batches(state.epoch * plan.steps))
    while state.epoch < plan.epochs and not _is_stale(plan, state):
        row = _run_epoch(plan, learner, batches, state.epoch, report)
        _record_epoch(state, row, learner, run)
    learner.model.set_weights(run.checkpoints.load_best(state))


def _run_epoch(
    plan: PhasePlan,
    learner: Learner,
    batches: Iterator[Batch],
    epoch: int,
    report: EventCallback | None,
) -> dict[str, Any]:
    meter = Meter(report, phase=plan.phase, epoch=epoch + 1, epochs=plan.epochs, steps=plan.steps)
    learner.seed_dropout(plan.seed + epoch)
    first = epoch * plan.steps
    figures = _take_steps(plan, learner, batches, first, meter)
    speed = meter.images_per_second
    val_figures = learner.judge(plan.val_batches)
    row = {
        "phase": plan.phase.value,
        "epoch": epoch + 1,
        "learning_rate": plan.schedule(first + plan.steps - 1),
        **figures,
        **{f"val_{name}": value for name, value in val_figures.items()},
        "seconds": meter.seconds,
        "images_per_second": speed,
    }
    meter.finish({name: value for name, value in row.items() if isinstance(value, float)})
    return row


def _take_steps(
    plan: PhasePlan, learner: Learner, batches: Iterator[Batch], first: int, meter: Meter
) -> dict[str, float]:
    """Train for one epoch; return the means of the loss and of the other figures."""
    sums = {"loss": 0.0}
    for step in range(first, first + plan.steps):
        inputs, targets, seed = next(batches)
        loss, figures = learner.train(inputs, targets, seed, plan.schedule(step))
        # Reading the numbers waits for the step, so that the meter counts finished work.
        for name, value in {"loss": loss, **figures}.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        meter.advance(len(inputs))
    if not math.isfinite(sums["loss"]):
        raise InvalidConfigError(
            "training diverged: the loss is not a number",
            received=f"learning_rate={plan.schedule.peak:g}",
            remedy="try a tenth of the learning rate",
        )
    return {name: total / plan.steps for name, total in sums.items()}


def _record_epoch(state: RunState, row: dict[str, Any], learner: Learner, run: RunFolder) -> None:
    if state.record(row):
        run.checkpoints.save_best(state, learner.model.get_weights())
    run.checkpoints.save(state, learner.state())
    run.write_history(state.history)


def _is_stale(plan: PhasePlan, state: RunState) -> bool:
    return bool(plan.early_stopping) and state.stale_epochs >= plan.early_stopping
