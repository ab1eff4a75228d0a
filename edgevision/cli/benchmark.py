"""``edgevision benchmark``: one table for files, devices and thread counts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevision.cli.command import command
from edgevision.cli.options import GpuFloat32, SkipBroken
from edgevision.cli.terminal import Terminal, create_table
from edgevision.errors import InvalidConfigError
from edgevision.units import NOTHING, format_bytes, format_percent

if TYPE_CHECKING:
    from edgevision.benchmarks.benchmark import BenchmarkReport
    from edgevision.benchmarks.compare import Change, Comparison
    from edgevision.benchmarks.operators import OperatorProfile


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "benchmark", panel="Measure")(benchmark_files)


def benchmark_files(
    terminal: Terminal,
    *,
    files: Annotated[list[Path], typer.Argument(help="Model files, .tflite or .onnx.")],
    device: Annotated[
        str, typer.Option("--device", help="cpu, gpu, edgetpu, or several: cpu,gpu.")
    ] = "cpu",
    threads: Annotated[
        str, typer.Option("--threads", help="Thread counts to try: 1 or 1,2,4.", metavar="N,…")
    ] = "auto",
    gpu_float32: GpuFloat32 = False,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled images, boxes or masks for the accuracy."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Timed seconds per row.")] = 3.0,
    per_op: Annotated[
        bool,
        typer.Option("--per-op", help="Also time single operations (.tflite on the CPU)."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for report.json, .md, .csv and .html."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", help="An earlier report.json: what has changed?"),
    ] = None,
    skip_broken: SkipBroken = False,
    host: Annotated[
        str | None,
        typer.Option("--host", help="Measure on this device through ssh.", metavar="USER@DEVICE"),
    ] = None,
    remote_python: Annotated[
        str, typer.Option("--remote-python", help="The Python to use there.", metavar="PATH")
    ] = "python3",
) -> None:
    """Measure latency, memory and accuracy of models beside each other."""
    from edgevision.benchmarks.benchmark import benchmark
    from edgevision.benchmarks.compare import compare_reports, read_report
    from edgevision.benchmarks.remote import benchmark_remote
    from edgevision.benchmarks.report.writer import check_reportable, write_report

    # Before the measuring, and before the report is perhaps written over.
    old = None if compare is None else read_report(compare)
    if output is not None:
        check_reportable(output)
    with terminal.progress() as progress:
        if host is not None:
            check_remote(device, data, per_op=per_op)
            report = benchmark_remote(
                files,
                host=host,
                python=remote_python,
                threads=parse_threads(threads),
                seconds=seconds,
                progress=progress,
            )
        else:
            report = benchmark(
                files,
                devices=tuple(device.split(",")),
                threads=parse_threads(threads),
                gpu_float32=gpu_float32,
                data=data,
                seconds=seconds,
                per_op=per_op,
                skip_broken=skip_broken,
                progress=progress,
            )
    for text in report.warnings:
        terminal.warn(text)
    document = report.to_dict()
    comparison = None
    if old is not None:
        comparison = compare_reports(old, report, path=str(compare))
        document["compare"] = comparison.to_dict()
        for text in comparison.warnings:
            terminal.warn(text)
    if output is not None:
        document["report"] = write_report(report, output)

    def render(console: Any) -> None:
        render_rows(console, report)
        if comparison is not None:
            render_comparison(console, comparison)
        if output is not None:
            console.print(f"report: {document['report']['html']}")

    terminal.finish(document, render)


def check_remote(device: str, data: Path | None, *, per_op: bool) -> None:
    """Refuse what is not measured on another device.

    Raises:
        InvalidConfigError: Accuracy or single operations were asked for, or another processor
            than the CPU.
    """
    if per_op:
        raise InvalidConfigError(
            "single operations are not timed on another device",
            received="--per-op with --host",
            remedy="leave --per-op out, or run edgevision on the device itself",
        )
    if data is not None:
        raise InvalidConfigError(
            "accuracy is not measured on another device",
            received=f"--data {data} with --host",
            remedy="leave --data out, and run edgevision evaluate here",
        )
    if device != "cpu":
        raise InvalidConfigError(
            "only the CPU of another device is measured",
            received=f"--device {device} with --host",
            remedy="leave --device out, or run edgevision on the device itself",
        )


def render_rows(console: Any, report: BenchmarkReport) -> None:
    """Print the table of a report, and the reasons of rows without figures."""
    from edgevision.benchmarks.report.figures import choose_columns

    columns = choose_columns(report.rows, brief=True)
    table = create_table(*columns, left=(0, 1))
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    console.print(table)
    for row in report.rows:
        if row.operators is not None:
            render_operators(console, row.operators)
    for row in report.rows:
        if row.reason:
            console.print(f"{row.file} on {row.device}: {row.status}: {row.reason}")
        if row.adapter_note:
            console.print(row.adapter_note)


def render_comparison(console: Any, comparison: Comparison) -> None:
    """Print what changed since an earlier report."""
    table = create_table("file", "figure", "before", "now", "change", left=(0, 1))
    shown = [change for change in comparison.changes if change.before != change.after]
    for change in shown:
        table.add_row(
            f"{change.file} ({change.device}, {change.threads})",
            change.figure,
            _write_value(change.figure, change.before),
            _write_value(change.figure, change.after),
            _write_change(change),
        )
    console.print(table if shown else f"nothing changed since {comparison.path}")
    for heading, rows in (("new", comparison.added), ("gone", comparison.gone)):
        for row in rows:
            console.print(f"{heading}: {row}")


def _write_value(figure: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    if figure == "p50_ms":
        return f"{value:.2f} ms"
    if figure == "accuracy":
        return format_percent(value)
    return format_bytes(int(value)) if figure.endswith("_bytes") else f"{value:,}"


def _write_change(change: Change) -> str:
    if change.before is None or change.after is None:
        return ""
    if change.figure == "accuracy":
        return f"{100 * (change.after - change.before):+.1f} points"
    text = f"{change.after / change.before - 1:+.1%}" if change.before else ""
    return text if change.certain else f"{text}, within the noise"


def render_operators(console: Any, operators: OperatorProfile) -> None:
    """Print where the time of one model goes, by operation and by block."""
    share = format_percent(abs(operators.residual))
    console.print(
        f"{operators.file}, {operators.threads} thread(s): {operators.whole_ms:.3f} ms; its "
        f"operations alone take {share} {'less' if operators.residual >= 0 else 'more'} and are "
        "scaled to that"
    )
    for key in ("op", "block"):
        table = create_table(key, "time", "share", "MACs", left=(0,))
        for name, (time_share, macs_share) in operators.group(key).items():
            table.add_row(
                name,
                f"{time_share * operators.whole_ms:.3f} ms",
                format_percent(time_share),
                format_percent(macs_share),
            )
        console.print(table)


def parse_threads(text: str) -> tuple[int | None, ...]:
    """Read thread counts.

    >>> parse_threads("auto"), parse_threads("1,4")
    ((None,), (1, 4))

    Raises:
        InvalidConfigError: The text holds something else.
    """
    if text == "auto":
        return (None,)
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise InvalidConfigError(
            "thread counts are numbers above 0, separated by commas",
            received=f"--threads {text}",
            remedy="for example --threads 1,2,4",
        )
    return tuple(int(part) for part in parts)
