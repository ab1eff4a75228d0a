"""The course of a training run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.outputs import atomic_path

_PANELS = (
    ("loss", (("loss", "training"), ("val_loss", "validation"))),
    ("accuracy", (("accuracy", "training"), ("val_accuracy", "validation"))),
    ("learning rate", (("learning_rate", "learning rate"),)),
)


def draw_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss, accuracy and learning rate over the epochs of all phases.

    Args:
        history: One row per epoch, with ``phase`` and the figures.
        path: The ``.png`` to write.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OutputError: The place can not be written.
    """
    import_backend("matplotlib")
    figure_class = import_backend("matplotlib.figure").Figure
    figure = figure_class(figsize=(12, 3.6), layout="constrained")
    epochs = range(1, len(history) + 1)
    phases = [row["phase"] for row in history]
    borders = [i + 0.5 for i in range(1, len(phases)) if phases[i] != phases[i - 1]]
    for axes, (title, lines) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for column, label in lines:
            axes.plot(epochs, [row[column] for row in history], label=label, marker=".")
        for border in borders:
            axes.axvline(border, color="gray", linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
