"""Writing a network of the zoo as a ``.keras`` file with its contract inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.graph.contracts import write_contract
from edgevision.graph.macs import count_macs
from edgevision.graph.params import count_params
from edgevision.models.registry import (
    InputSize,
    build_graph,
    configure,
    create_model,
    create_pretrained,
    default_contract,
)
from edgevision.outputs import atomic_path
from edgevision.specs import Upsampling


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What ``build_file`` wrote.

    Attributes:
        output: The ``.keras`` file.
        params: All weights, BatchNorm statistics included.
        macs: Multiply-accumulates of convolutions and matrix products.
        notes: What a reader should know, such as a head that kept random weights.
    """

    output: str
    params: int
    macs: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "output": self.output,
            "params": self.params,
            "macs": self.macs,
            "notes": list(self.notes),
        }


def build_file(
    name: str,
    output: str | Path,
    *,
    alpha: float | None = None,
    input_size: InputSize | None = None,
    num_classes: int | None = None,
    channels: int = 3,
    dropout: float | None = None,
    weights: str | Path | None = None,
    labels: Sequence[str] = (),
    upsampling: Upsampling | str | None = None,
) -> BuildResult:
    """Build a network and save it with its family's preprocessing.

    Args:
        name: A name from ``list_models``.
        output: A path that ends in ``.keras``.
        labels: Class names, one per class; a detector's leave out its background.
        alpha: As for ``create_model``, like all others.
        input_size: See there.
        num_classes: See there; the number of labels where they are given.
        channels: See there.
        dropout: See there.
        weights: See there.
        upsampling: See there.

    Raises:
        InvalidConfigError: ``output`` has another suffix, the labels do not match, or a choice is
            out of range.
        BackendUnavailableError: TensorFlow is not installed.
        OutputError: The place can not be written.
    """
    choices: dict[str, Any] = {
        "alpha": alpha,
        "input_size": input_size,
        "num_classes": len(labels) if labels and num_classes is None else num_classes,
        "channels": channels,
        "dropout": dropout,
        "upsampling": upsampling,
    }
    classes = configure(name, **choices).num_classes
    graph = build_graph(name, **choices)
    if Path(output).suffix != ".keras":
        raise InvalidConfigError(
            "a built model is a .keras file", received=output, remedy="name it MODEL.keras"
        )
    if labels and len(labels) != classes:
        raise InvalidConfigError(
            "there must be one label per class",
            received=f"{len(labels)} labels, {classes} classes",
        )
    with atomic_path(output) as temporary:
        model, notes = _create(name, weights, choices)
        model.save(temporary)
        write_contract(temporary, default_contract(name, labels=labels, input_size=input_size))
    return BuildResult(
        output=str(output),
        params=count_params(graph).total,
        macs=count_macs(graph).total,
        notes=notes,
    )


def _create(
    name: str, weights: str | Path | None, choices: dict[str, Any]
) -> tuple[Any, tuple[str, ...]]:
    """Build the model, and say which layers the weights did not reach."""
    if weights is None:
        return create_model(name, **choices), ()
    model, report = create_pretrained(name, weights=weights, **choices)
    if not report.skipped:
        return model, ()
    return model, (f"random weights in {_shorten(report.skipped)}: the file has none that fit",)


def _shorten(names: Sequence[str]) -> str:
    """Name a few layers; a detector's head has dozens."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more layers"
