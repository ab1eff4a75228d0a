"""What a training run returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.training.checkpoints import RunState
from edgevision.training.dataset import TrainingData
from edgevision.training.events import Phase
from edgevision.training.runs import RunFolder, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained network and where it is.

    Attributes:
        run_dir: The run folder.
        model_path: The best model (``.keras``, ready for inference, contract inside).
        metrics: Figures of the best epoch, shares and mean losses: ``val_accuracy val_loss
            accuracy loss`` of a classifier, ``val_map50 val_loss loss`` of a detector,
            ``val_mean_iou val_pixel_accuracy val_loss …`` of a segmenter.
        epochs: Finished epochs of the whole network, those before a resume included.
        head_epochs: Finished epochs of the head on the frozen backbone.
        best_phase: Phase of the best epoch.
        best_epoch: Its number in that phase, from 1.
        labels: Class names in the order of the output.
        status: ``finished``, or ``interrupted`` after Ctrl-C.
        resumed_from: Where this call went on, as ``train network, epoch 2``; empty for a new run.
        seconds: Duration of this call.
        notes: What a person should know, for example images left out.
    """

    run_dir: Path
    model_path: Path
    metrics: Mapping[str, float]
    epochs: int
    head_epochs: int
    best_phase: str
    best_epoch: int
    labels: tuple[str, ...]
    status: RunStatus
    resumed_from: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run; ``resume=True`` goes on with it."""
        return self.status is RunStatus.INTERRUPTED

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "run_dir": str(self.run_dir),
            "model": str(self.model_path),
            "metrics": dict(self.metrics),
            "epochs": self.epochs,
            "head_epochs": self.head_epochs,
            "best_phase": self.best_phase,
            "best_epoch": self.best_epoch,
            "labels": list(self.labels),
            "status": self.status.value,
            "resumed_from": self.resumed_from,
            "seconds": round(self.seconds, 1),
            "notes": list(self.notes),
        }


def repeat_result(run: RunFolder, data: TrainingData) -> TrainingResult:
    """Return the result of a run that was finished earlier."""
    state, _ = run.checkpoints.load()
    return make_result(
        run,
        state,
        data,
        status=RunStatus.FINISHED,
        resumed_from=f"{state.phase.value}, epoch {state.epoch}",
        seconds=0.0,
        notes=("the run was finished already",),
    )


def make_result(
    run: RunFolder, state: RunState, data: TrainingData, *, status: RunStatus, **details: Any
) -> TrainingResult:
    """Sum up a run of at least one epoch; ``details`` are further fields of the result."""
    best = state.history[state.best_row]
    phases = [row["phase"] for row in state.history]
    return TrainingResult(
        run_dir=run.path,
        model_path=run.model_path,
        metrics=_pick_metrics(best, state.metric),
        epochs=phases.count(Phase.FINE_TUNE.value),
        head_epochs=phases.count(Phase.HEAD.value),
        best_phase=best["phase"],
        best_epoch=best["epoch"],
        labels=data.labels,
        status=status,
        **details,
    )


def _pick_metrics(row: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return the figures of an epoch, what counts first."""
    first = (f"val_{metric}", "val_loss", metric, "loss")
    others = [name for name in row if name.startswith("val_")]
    return {name: row[name] for name in dict.fromkeys((*first, *others)) if name in row}


def describe_skipped(data: TrainingData) -> tuple[str, ...]:
    """Tell what a person should know about the images, what was left out above all."""
    parts = (*data.train.notes, *data.val.notes)
    skipped = dict((*data.train.skipped, *data.val.skipped))
    left_out = [f"left out {path}: {reason}" for path, reason in skipped.items()]
    return tuple(dict.fromkeys((*parts, *left_out)))
