"""``edgevision pareto``: a grid of networks, trained and measured on the user's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevision.cli.choose import parse_alphas, parse_sizes
from edgevision.cli.command import EXIT_DONE, EXIT_GATE, command
from edgevision.cli.options import Output, SkipBroken
from edgevision.cli.terminal import Terminal, create_table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "pareto", panel="Choose and build")(sweep_grid)


def sweep_grid(
    terminal: Terminal,
    *,
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Images to learn from, as for train; or a folder with train and val."
        ),
    ],
    output: Output,
    families: Annotated[
        str, typer.Option("--families", help="Networks or families: mobilenet_v1,mobilenet_v3.")
    ],
    alphas: Annotated[str, typer.Option("--alphas", help="Widths: 0.25,0.5.")],
    input_sizes: Annotated[
        str, typer.Option("--input-sizes", help="Input sizes in pixels: 96,128.")
    ],
    val_data: Annotated[Path | None, typer.Option("--val-data", help="Images to judge by.")] = None,
    weights: Annotated[
        str, typer.Option("--weights", help="none, imagenet, or a .keras or .h5 file.")
    ] = "none",
    epochs: Annotated[int | None, typer.Option("--epochs", help="As for train.")] = None,
    head_epochs: Annotated[int | None, typer.Option("--head-epochs", help="As for train.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="As for train.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides everything random.")] = 0,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Points at the same time on this machine.")
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Address of a Ray cluster that makes the points.", metavar="A"),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Of the interpreter, for the latency.")
    ] = 1,
    seconds: Annotated[float, typer.Option("--seconds", help="Timed seconds per point.")] = 2.0,
    skip_broken: SkipBroken = False,
) -> int:
    """Train, quantize and measure a grid of networks; the same command goes on after a kill."""
    from edgevision.benchmarks.pareto.pareto import pareto
    from edgevision.benchmarks.report.sweep import check_drawable, write_sweep

    check_drawable()
    options = {"epochs": epochs, "head_epochs": head_epochs, "batch_size": batch_size}
    with terminal.progress() as progress:
        report = pareto(
            families.split(","),
            alphas=parse_alphas(alphas) or (),
            input_sizes=parse_sizes(input_sizes) or (),
            data=data,
            output=output,
            val_data=val_data,
            weights=None if weights == "none" else weights,
            seed=seed,
            training={key: value for key, value in options.items() if value is not None},
            skip_broken=skip_broken,
            jobs=jobs,
            ray=ray,
            threads=threads,
            seconds=seconds,
            progress=progress,
            tell=terminal.note,
        )
    for text in report.warnings:
        terminal.warn(text)
    document = report.to_dict() | {"report": write_sweep(report, output)}
    terminal.finish(document, lambda console: _render(console, report, document["report"]))
    if any(row["score"] is not None for row in report.rows):
        return EXIT_DONE
    terminal.fail(f"no point was finished; the first says: {report.rows[0]['reason']}")
    return EXIT_GATE


def _render(console: Any, report: Any, written: dict[str, str]) -> None:
    from edgevision.benchmarks.report.sweep import make_table, name_row

    columns = make_table(report)
    table = create_table(*columns, left=(0, len(columns) - 1))
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    console.print(table)
    for row in report.rows:
        if row["reason"]:
            console.print(f"{name_row(row)}: {row.get('stage', 'latency')}: {row['reason']}")
    console.print(f"report: {written['html']}")
