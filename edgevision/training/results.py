"""What a training run returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.training.runs import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """A trained classifier and where it is.

    Attributes:
        run_dir: The run folder.
        model_path: The best model (``.keras``, softmax, contract inside).
        metrics: ``val_accuracy val_loss accuracy loss`` of the best epoch; shares and mean losses.
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
