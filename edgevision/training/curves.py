"""The course of a training run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.outputs import atomic_path

_NO_FIGURES = ("phase", "epoch", "learning_rate", "seconds", "images_per_second")


def draw_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw every figure and the learning rate over the epochs of all phases.

    Args:
        history: One row per epoch, with ``phase`` and the figures.
        path: The ``.png`` to write.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OutputError: The place can not be written.
    """
    import_backend("matplotlib")
    figure_class = import_backend("matplotlib.figure").Figure
    panels = _plan_panels(history)
    figure = figure_class(figsize=(4 * len(panels), 3.6), layout="constrained")
    epochs = range(1, len(history) + 1)
    phases = [row["phase"] for row in history]
    borders = [i + 0.5 for i in range(1, len(phases)) if phases[i] != phases[i - 1]]
    for axes, (title, lines) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for column, label in lines.items():
            axes.plot(epochs, [row.get(column) for row in history], label=label, marker=".")
        for border in borders:
            axes.axvline(border, color="gray", linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _plan_panels(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Name the lines of each panel: training and validation of one figure stand together."""
    panels: dict[str, dict[str, str]] = {}
    for column in dict.fromkeys(name for row in history for name in row):
        title = column.removeprefix("val_")
        if title not in _NO_FIGURES:
            kind = "training" if column == title else "validation"
            panels.setdefault(title.replace("_", " "), {})[column] = kind
    return panels | {"learning rate": {"learning_rate": "learning rate"}}
