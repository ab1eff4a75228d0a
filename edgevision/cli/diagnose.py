"""``edgevision diagnose``: which layer of a quantized file lost what, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevision.cli.command import command
from edgevision.cli.options import (
    CropFraction,
    Mean,
    Resize,
    SkipBroken,
    Std,
    Threads,
    parse_values,
)
from edgevision.cli.terminal import Terminal, create_table

LAYERS_SHOWN = 10
PLACES_SHOWN = 3

Report = Annotated[
    Path | None, typer.Option("--report", help="Folder for diagnosis.html: plot, causes, layers.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "diagnose", panel="Measure")(diagnose_files)


def diagnose_files(
    terminal: Terminal,
    *,
    model: Annotated[Path, typer.Argument(help="The float .tflite or .onnx file.")],
    quantized: Annotated[Path, typer.Argument(help="What any tool made of it.")],
    data: Annotated[Path, typer.Option("--data", help="Folder of images; 16 of them are used.")],
    report: Report = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use fewer images.")] = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop_fraction: CropFraction = None,
    skip_broken: SkipBroken = False,
    threads: Threads = None,
) -> None:
    """Tell which layers of a quantized file lost what, and why."""
    from edgevision.quantization.diagnosis.compare import diagnose

    check_report(report)
    with terminal.progress() as progress:
        result = diagnose(
            model,
            quantized,
            data=data,
            limit=limit,
            mean=parse_values(mean, "--mean"),
            std=parse_values(std, "--std"),
            resize=resize,
            crop_fraction=crop_fraction,
            skip_broken=skip_broken,
            threads=threads,
            progress=progress,
        )
    document = result.to_dict()
    add_report(document, document, report, title=f"Diagnosis of {quantized.name}")

    def render(console: Any) -> None:
        render_diagnosis(console, document)
        render_report(console, document)

    terminal.finish(document, render)


def check_report(folder: Path | None) -> None:
    """Fail before anything is measured when the page could not be written afterwards."""
    if folder is None:
        return
    from edgevision.benchmarks.report.diagnosis import check_reportable

    check_reportable(folder)


def add_report(
    document: dict[str, Any], diagnosis: dict[str, Any], folder: Path | None, *, title: str
) -> None:
    """Write the page, and name it in the document under ``report``."""
    if folder is None:
        return
    from edgevision.benchmarks.report.diagnosis import write_diagnosis

    document["report"] = str(write_diagnosis(diagnosis, folder, title=title))


def render_report(console: Any, document: dict[str, Any]) -> None:
    """Say where the page is, if there is one."""
    if "report" in document:
        console.print(f"report: {document['report']}")


def render_diagnosis(console: Any, diagnosis: dict[str, Any]) -> None:
    """Print the worst layers, and the causes in words beneath."""
    from edgevision.benchmarks.report.diagnosis import (
        group_findings,
        write_codes,
        write_figure,
        write_noise,
    )

    headings = ("worst layers", "op", "alone", "in the network", "median channel", "codes")
    table = create_table(*headings, "noise from w/i/o", left=(0, 1))
    for layer in sorted(diagnosis["layers"], key=_get_worst)[:LAYERS_SHOWN]:
        table.add_row(
            layer["name"],
            layer["op"],
            *(write_figure(layer[key], " dB") for key in _FIGURES),
            write_codes(layer["output"]),
            write_noise(layer),
        )
    console.print(table)
    console.print(diagnosis["verdict"])
    if diagnosis["float_ops"]:
        shown = ", ".join(f"{count} x {name}" for name, count in diagnosis["float_ops"].items())
        console.print(f"computed in float: {shown}")
    if diagnosis["unpaired_layers"]:
        console.print(f"{diagnosis['unpaired_layers']} layers have no counterpart: left out")
    for group in group_findings(diagnosis["findings"]):
        console.print(f"{group['title']}; what helps: {group['remedy']}")
        places = group["places"]
        for place in places[:PLACES_SHOWN]:
            console.print(f"  {place['layer']}: {place['evidence']}")
        if len(places) > PLACES_SHOWN:
            console.print(f"  and {len(places) - PLACES_SHOWN} more layers: --json or --report")


_FIGURES = ("local_sqnr_db", "sqnr_db", "channel_sqnr_db")


def _get_worst(layer: dict[str, Any]) -> float:
    worst = layer["worst_db"]
    return float("inf") if worst is None else float(worst)
