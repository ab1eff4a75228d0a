"""``edgevision plan``: which network fits a device, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevision.cli.command import EXIT_DONE, EXIT_GATE, command
from edgevision.cli.options import Classes, parse_size, parse_values
from edgevision.cli.terminal import Terminal, create_table
from edgevision.specs import Task
from edgevision.units import format_bytes, format_count, format_percent

if TYPE_CHECKING:
    from edgevision.benchmarks.plan import Candidate, Plan

SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "plan", panel="Choose and build")(show_plan)


def show_plan(
    terminal: Terminal,
    *,
    max_macs: Annotated[
        str | None,
        typer.Option("--max-macs", help="Multiply-accumulates of an inference: 50M.", metavar="N"),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option("--max-params", help="Parameters: 1M.", metavar="N")
    ] = None,
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", help="Size of the int8 file: 1MB.", metavar="N")
    ] = None,
    max_ram: Annotated[
        str | None,
        typer.Option("--max-ram", help="Activations of the int8 file: 256KB, 256KiB.", metavar="N"),
    ] = None,
    task: Annotated[
        Task, typer.Option("--task", help="What the network is to answer.")
    ] = Task.CLASSIFY,
    networks: Annotated[
        str | None,
        typer.Option("--networks", help="Only these names of `edgevision models`.", metavar="A,B"),
    ] = None,
    alphas: Annotated[
        str | None, typer.Option("--alphas", help="Widths to try: 0.25,0.5.", metavar="A,…")
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option("--input-size", help="Input sizes to try: 96,128,96x160.", metavar="N,…"),
    ] = None,
    classes: Classes = None,
    int8_friendly: Annotated[
        bool,
        typer.Option("--int8-friendly", help="Only what int8 kernels take without a rewrite."),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            "--top", min=1, help="Show so many; 20 by default, all with --json.", metavar="N"
        ),
    ] = None,
) -> int:
    """List the networks that fit a device, the most accurate first; nothing is trained."""
    from edgevision.benchmarks.budget import parse_amount
    from edgevision.benchmarks.plan import plan

    result = plan(
        max_macs=parse_amount(max_macs, "--max-macs"),
        max_params=parse_amount(max_params, "--max-params"),
        max_bytes=parse_amount(max_bytes, "--max-bytes"),
        max_ram=parse_amount(max_ram, "--max-ram"),
        task=task,
        names=None if networks is None else networks.split(","),
        alphas=parse_alphas(alphas),
        input_sizes=parse_sizes(input_size),
        num_classes=classes,
        int8_friendly=int8_friendly,
    )
    for text in result.notes:
        terminal.note(text)
    document = result.to_dict()
    document["num_fitting"] = len(result.candidates)
    document["candidates"] = document["candidates"][:top]
    terminal.finish(document, lambda console: _render(console, result, top or SHOWN))
    if result.candidates:
        return EXIT_DONE
    terminal.fail(_explain_miss(result))
    return EXIT_GATE


def parse_alphas(text: str | None) -> tuple[float, ...] | None:
    """Read widths.

    >>> parse_alphas("0.25,1"), parse_alphas(None)
    ((0.25, 1.0), None)

    Raises:
        InvalidConfigError: The text holds something else.
    """
    return parse_values(
        text, "--alphas", rule="widths are numbers separated by commas", example="0.25,0.5"
    )


def parse_sizes(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """Read input sizes.

    >>> parse_sizes("96,128x160"), parse_sizes(None)
    (((96, 96), (128, 160)), None)

    Raises:
        InvalidConfigError: The text holds something else.
    """
    if text is None:
        return None
    return tuple(size for part in text.split(",") if (size := parse_size(part)))


def describe_network(name: str, alpha: float, input_size: tuple[int, int]) -> str:
    """Name a network with its width and input size.

    >>> describe_network("mobilenet_v1", 0.25, (96, 96))
    'mobilenet_v1 0.25 at 96x96'
    """
    return f"{name} {alpha:g} at {input_size[0]}x{input_size[1]}"


def _render(console: Any, result: Plan, shown: int) -> None:
    if not result.candidates:
        return
    columns = ("alpha", "input", "MACs", "params", "int8 file", "RAM", "ImageNet top-1")
    table = create_table("network", *columns)
    for candidate in result.candidates[:shown]:
        table.add_row(*_write_row(candidate))
    console.print(table)
    hidden = len(result.candidates) - shown
    more = f"; {hidden} more with --top {len(result.candidates)}" if hidden > 0 else ""
    console.print(
        f"{len(result.candidates)} of {result.num_weighed} networks fit, counted for "
        f"{result.num_classes} classes{more}"
    )
    console.print("file and RAM: estimates for int8; top-1: published, in float", style="dim")
    shown_rows = result.candidates[:shown]
    for source in dict.fromkeys(c.published.source for c in shown_rows if c.published):
        console.print(f"source: {source}", style="dim")


def _write_row(candidate: Candidate) -> tuple[str, ...]:
    height, width = candidate.input_size
    known = candidate.published
    return (
        candidate.name,
        f"{candidate.alpha:g}",
        f"{height}x{width}",
        format_count(candidate.macs),
        format_count(candidate.params),
        format_bytes(candidate.bytes),
        format_bytes(candidate.ram),
        format_percent(known.top1 if known else None),
    )


def _explain_miss(result: Plan) -> str:
    nearest = result.nearest
    if nearest is None:
        return "none of these networks is int8-friendly: leave out --int8-friendly"
    network = describe_network(nearest.name, nearest.alpha, nearest.input_size)
    misses = "; ".join(str(miss) for miss in result.misses)
    return (
        f"no network fits ({result.num_weighed} looked at), the nearest is {network}: {misses}: "
        "raise the limit, or try fewer --classes or a smaller --alphas or --input-size"
    )
