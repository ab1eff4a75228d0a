"""``edgevision quantize``: integers instead of floats, with what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevision.cli.command import command
from edgevision.cli.diagnose import (
    Report,
    add_report,
    check_report,
    render_diagnosis,
    render_report,
)
from edgevision.cli.options import (
    CropFraction,
    Mean,
    Output,
    Resize,
    SkipBroken,
    Std,
    Threads,
    parse_values,
)
from edgevision.cli.terminal import Terminal, create_table
from edgevision.specs import Lift, RangeMethod, Scheme
from edgevision.units import format_bytes

WORST_LAYERS_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "quantize", panel="Make a device file")(quantize_model)


def quantize_model(
    terminal: Terminal,
    *,
    model: Annotated[Path, typer.Argument(help="A float .tflite or .onnx file.")],
    output: Output,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Folder of typical images; labels are not needed."),
    ] = None,
    batch_norm: Annotated[
        Path | None,
        typer.Option(
            "--batch-norm",
            help="Instead of images: the Keras model it came from, whose BatchNorm tells ranges.",
        ),
    ] = None,
    scheme: Annotated[Scheme, typer.Option("--scheme", help="What becomes integer.")] = Scheme.INT8,
    unsigned: Annotated[
        bool, typer.Option("--uint8", help="Inputs and outputs are uint8 instead of int8.")
    ] = False,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            help="Repairs to apply, separated by commas, or none; --steps=-NAME leaves one out. "
            "By default all for the scheme.",
        ),
    ] = None,
    rounding_seconds: Annotated[
        float | None,
        typer.Option("--rounding-seconds", help="Time to look for better rounding of weights."),
    ] = None,
    ranges: Annotated[
        RangeMethod,
        typer.Option("--ranges", help="How the ranges of 8-bit activations are chosen."),
    ] = RangeMethod.MINMAX,
    eval_data: Annotated[
        Path | None,
        typer.Option("--eval", help="Labelled images: accuracy of both files; for --max-drop too."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            help="Accuracy points that may be lost; layers get more bits until it holds.",
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            "--min-agreement", help="Share of the float file's answers that must stay, 0 to 1."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", help="Seconds after which the search for the target stops."),
    ] = None,
    lift: Annotated[
        Lift,
        typer.Option("--lift", help="What the search lifts layers to; int16 is slow on a CPU."),
    ] = Lift.FLOAT,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Use this many images at the most.")
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Tell which layers lost what, and why.")
    ] = False,
    report: Report = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop_fraction: CropFraction = None,
    skip_broken: SkipBroken = False,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Measure the calibration images anew, and keep nothing."),
    ] = False,
    threads: Threads = None,
) -> None:
    """Quantize a float model after training, from a folder of unlabelled photos."""
    from edgevision.quantization.quantize import quantize

    check_report(report)
    with terminal.progress() as progress:
        result = quantize(
            model,
            output,
            calibration=calibration,
            batch_norm=batch_norm,
            scheme=scheme,
            unsigned=unsigned,
            steps=_parse_steps(steps),
            rounding_seconds=rounding_seconds,
            ranges=ranges,
            eval_data=eval_data,
            max_drop=max_drop,
            min_agreement=min_agreement,
            budget_s=budget,
            lift=lift,
            limit=limit,
            mean=parse_values(mean, "--mean"),
            std=parse_values(std, "--std"),
            resize=resize,
            crop_fraction=crop_fraction,
            diagnose=diagnose or report is not None,
            skip_broken=skip_broken,
            cache=not no_cache,
            threads=threads,
            progress=progress,
        )
    for text in result.warnings:
        terminal.warn(text)
    for text in result.accuracy.notes if result.accuracy else ():
        terminal.note(text)
    document = result.to_dict()
    if document["diagnosis"]:
        title = f"Diagnosis of {output.name}"
        add_report(document, document["diagnosis"], report, title=title)
    terminal.finish(document, lambda console: _render(console, document, Path(model)))


def _parse_steps(text: str | None) -> list[str] | None:
    """Read names separated by commas.

    >>> _parse_steps("rounding, bias_correction"), _parse_steps("none"), _parse_steps(None)
    (['rounding', 'bias_correction'], [], None)
    """
    if text is None:
        return None
    return [] if text == "none" else [name.strip() for name in text.split(",")]


def _render(console: Any, document: dict[str, Any], model: Path) -> None:
    from edgevision.quantization.accuracy import METRIC_NAMES

    before, after = model.stat().st_size, Path(document["output"]).stat().st_size
    console.print(
        f"{document['output']}: {document['scheme']}, {format_bytes(after)} "
        f"({after / before:.0%} of the float file), {document['seconds']:.1f} s"
    )
    if document["calibration"] and document["calibration"]["cached"]:
        console.print("  calibration: as measured in an earlier run")
    for repair in document["repairs"]:
        console.print(f"  {repair['step']}: {repair['layers']} layers, {repair['seconds']:.1f} s")
    if document["ranges"]["narrowed"]:
        chosen = document["ranges"]
        console.print(
            f"  ranges by {chosen['method']}: {chosen['narrowed']} narrowed, "
            f"{chosen['seconds']:.1f} s"
        )
    if document.get("accuracy"):
        figures = document["accuracy"]
        name = METRIC_NAMES[figures["metric"]]
        console.print(
            f"{name}: float {figures['float']:.1%}, quantized {figures['quantized']:.1%}, "
            f"drop {figures['drop']:.2f} points"
        )
    if document["diagnosis"]:
        render_diagnosis(console, document["diagnosis"])
        render_report(console, document)
    else:
        _render_layers(console, document)
    if document["sqnr_db"] is not None:
        console.print(f"signal to noise at the output: {document['sqnr_db']:.1f} dB")
    if document["agreement"] is not None:
        console.print(f"same answers on the calibration images: {document['agreement']:.1%}")


def _render_layers(console: Any, document: dict[str, Any]) -> None:
    if document["search"]:
        _render_search(console, document["search"])
    layers = [layer for layer in document["layers"] if layer["sqnr_db"] is not None]
    if not layers:
        return
    table = create_table("noisiest layers", "op", "signal to noise", left=(0, 1))
    for layer in sorted(layers, key=lambda item: float(item["sqnr_db"]))[:WORST_LAYERS_SHOWN]:
        table.add_row(layer["name"], layer["op"], f"{layer['sqnr_db']:.1f} dB")
    console.print(table)


def _describe_lift(trial: dict[str, Any]) -> str:
    if trial["lift"] is None:
        return "none"
    ops = trial[f"{trial['lift']}_ops"]
    return f"{len(trial['lifted'])} to {trial['lift']} ({ops} operations)"


def _render_search(console: Any, search: dict[str, Any]) -> None:
    """Show every file that was tried, with its price."""
    titles = ("activations lifted", "lost", "same answers", "size", "latency", "")
    table = create_table(*titles, left=(0, 5))
    for place, trial in enumerate(search["trials"]):
        drop, agreement = trial["drop"], trial["agreement"]
        table.add_row(
            _describe_lift(trial),
            "" if drop is None else f"{drop:.2f} points",
            "" if agreement is None else f"{agreement:.1%}",
            format_bytes(trial["model_bytes"]),
            f"{trial['latency_ms']:.2f} ms, {trial['latency_ratio']:.2f} ×",
            "written" if place == search["chosen"] else "holds" if trial["holds"] else "",
        )
    console.print(table)
    if search["agreement_interval"] is not None:
        low, high = search["agreement_interval"]
        console.print(
            f"with {search['images']} calibration images the share of same answers is known to lie "
            f"between {low:.1%} and {high:.1%}"
        )
