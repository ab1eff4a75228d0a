"""``edgevision models`` and ``edgevision build``: the zoo, and one network of it."""

from __future__ import annotations

from typing import Annotated

import typer

from edgevision.cli.command import command
from edgevision.cli.options import (
    Alpha,
    Channels,
    Classes,
    InputSize,
    LabelsFile,
    Output,
    parse_size,
)
from edgevision.cli.terminal import Terminal, create_table
from edgevision.specs import Task, Upsampling
from edgevision.units import format_count


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(app, "models", panel="Choose and build")(show_models)
    command(app, "build", panel="Choose and build")(build)


def show_models(
    terminal: Terminal,
    *,
    task: Annotated[Task | None, typer.Option("--task", help="Only networks of this task.")] = None,
) -> None:
    """List the networks that can be built, with their cost at alpha 1.

    Classifiers are counted with 1,000 classes, detectors with 90 and segmenters with 21.
    """
    from edgevision.models.catalog import list_models

    models = [model.to_dict() for model in list_models(task)]
    table = create_table("name", "task", "input", "MACs", "params", left=(0, 1))
    for m in models:
        height, width = m["input_size"]
        cost = format_count(m["macs"]), format_count(m["params"])
        table.add_row(m["name"], m["task"], f"{height}x{width}", *cost)
    terminal.finish(models, lambda console: console.print(table))


def build(
    terminal: Terminal,
    *,
    name: Annotated[str, typer.Argument(help="A name from `edgevision models`.")],
    output: Output,
    alpha: Alpha = 1.0,
    input_size: InputSize = None,
    classes: Classes = None,
    channels: Channels = 3,
    dropout: Annotated[
        float | None, typer.Option("--dropout", help="Dropout rate before the head.")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", help="none, imagenet, or a .keras or .h5 file.")
    ] = "none",
    labels: LabelsFile = None,
    upsampling: Annotated[
        Upsampling | None,
        typer.Option("--upsampling", help="How the decoder of a U-Net doubles the resolution."),
    ] = None,
) -> None:
    """Write a network as a Keras model, its preprocessing inside."""
    from edgevision.graph.contract_completion import read_labels
    from edgevision.models.build import build_file

    result = build_file(
        name,
        output,
        alpha=alpha,
        input_size=parse_size(input_size),
        num_classes=classes,
        channels=channels,
        dropout=dropout,
        weights=None if weights == "none" else weights,
        labels=read_labels(labels) if labels else (),
        upsampling=upsampling,
    )
    for text in result.notes:
        terminal.note(text)
    document = result.to_dict()
    terminal.finish(
        document,
        lambda console: console.print(
            f"{document['output']}: {name} alpha {alpha:g}, "
            f"{format_count(document['macs'])} MACs, {format_count(document['params'])} parameters"
        ),
    )
