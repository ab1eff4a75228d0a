"""``edgevision demo``: the whole story on generated data, from images to verified int8 files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevision.cli.benchmark import render_rows
from edgevision.cli.command import command
from edgevision.cli.side_by_side import train_beside
from edgevision.cli.story import ALPHA, CHAPTERS, DATA, ChapterPaths
from edgevision.cli.terminal import Terminal
from edgevision.cli.train import draw_training
from edgevision.errors import OutputError, QualityGateError
from edgevision.specs import Task
from edgevision.units import format_percent

if TYPE_CHECKING:
    from edgevision.benchmarks.benchmark import BenchmarkReport
    from edgevision.benchmarks.report.page import Check
    from edgevision.converters.verify import VerificationResult

NUM_CALIBRATION, NUM_VERIFIED, NUM_PICTURES = 100, 200, 6
BENCHMARK_SECONDS = 0.5
MIN_AGREEMENT = 0.95
MAX_FOLDERS = 1000


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "demo", panel="Use")(show_demo)


def show_demo(
    terminal: Terminal,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New folder; edgevision-demo by default."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides data and training.")] = 0,
) -> None:
    """Teach one backbone to classify, detect and segment; convert, quantize, verify, benchmark."""
    start = time.perf_counter()
    folder = create_folder(output)
    terminal.note(f"everything goes to {folder}")
    _draw_data(terminal, folder, seed)
    chapters = [ChapterPaths(folder=folder, chapter=chapter) for chapter in CHAPTERS]
    _train(terminal, chapters[0], seed)
    # The others need its backbone, but not each other: side by side they use all cores.
    train_beside(chapters[1:], weights=chapters[0].keras_model, seed=seed, tell=terminal.note)
    verdicts: dict[str, VerificationResult] = {}
    for paths in chapters:
        terminal.note(f"{paths.chapter.name}: converting, quantizing, verifying")
        _convert(terminal, paths)
        verdicts |= _verify(terminal, paths)
        _draw_answers(paths)
    report = _benchmark(terminal, chapters)
    checks = tuple(_judge(report, chapters, verdicts))
    from edgevision.benchmarks.report.writer import write_report

    written = write_report(report, folder, title="edgevision demo", checks=checks)
    document: dict[str, Any] = {
        "folder": str(folder),
        "data": str(folder / "data"),
        "runs": [str(paths.run) for paths in chapters],
        "models": [str(path) for paths in chapters for path in paths.models],
        "pictures": [str(paths.pictures) for paths in chapters],
        "report": written,
        "rows": report.to_dict()["rows"],
        "checks": {check.name: check.passed for check in checks},
        "seconds": round(time.perf_counter() - start, 1),
    }

    def render(console: Any) -> None:
        render_rows(console, report)
        for check in checks:
            mark, style = ("ok", "") if check.passed else ("FAIL", "red")
            console.print(f"{mark:4} {check.name}: {check.figure}", style=style)
        detector = chapters[1]
        console.print(f"\nreport:   {written['html']}   ({document['seconds']:.0f} s in all)")
        console.print(f"pictures: {detector.pictures.parent}")
        console.print(f"next:     edgevision predict {detector.int8_model} {detector.unseen}")

    terminal.finish(document, render)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        raise QualityGateError("the demo missed its own bars", received=", ".join(failed))


def create_folder(output: Path | None) -> Path:
    """Create a folder that did not exist; nothing of an earlier demo is overwritten.

    Raises:
        OutputError: ``output`` exists, or can not be created.
    """
    names = [output] if output else [Path("edgevision-demo")]
    if output is None:
        names += [Path(f"edgevision-demo-{n}") for n in range(2, MAX_FOLDERS)]
    for folder in names:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                "the folder can not be created",
                received=f"{folder}: {error.strerror}",
                remedy="choose another with --output",
            ) from error
        return folder
    raise OutputError("the folder exists", received=names[0], remedy="name a new one with --output")


def _draw_data(terminal: Terminal, folder: Path, seed: int) -> None:
    from edgevision.data.scenes import write_dataset

    try:
        (folder / "data").mkdir()
        with terminal.progress() as progress:
            for plan in DATA:
                place = folder / "data" / plan.name
                write_dataset(place, seed=seed, progress=progress, **plan.options)
    except BaseException:
        # An empty folder would only stand in the way of the next demo.
        with suppress(OSError):
            (folder / "data").rmdir()
            folder.rmdir()
        raise


def _train(terminal: Terminal, paths: ChapterPaths, seed: int) -> None:
    from edgevision.training.train import train

    chapter = paths.chapter
    terminal.note(f"{chapter.name}: training {chapter.network}")
    with draw_training(terminal) as on_event:
        train(
            chapter.network,
            data=paths.train_data,
            val_data=paths.val_data,
            output=paths.run,
            alpha=ALPHA,
            seed=seed,
            on_event=on_event,
            **chapter.training,
        )


def _convert(terminal: Terminal, paths: ChapterPaths) -> None:
    from edgevision.converters.convert import convert
    from edgevision.quantization.quantize import quantize

    with terminal.progress() as progress:
        for path in (paths.float_model, paths.onnx_model):
            convert(paths.keras_model, path, progress=progress)
        quantize(
            paths.float_model,
            paths.int8_model,
            calibration=paths.photos,
            limit=NUM_CALIBRATION,
            progress=progress,
        )


def _verify(terminal: Terminal, paths: ChapterPaths) -> dict[str, VerificationResult]:
    """Compare the other files with the float32 .tflite on images that were not learned from."""
    from edgevision.converters.verify import verify

    with terminal.progress() as progress:
        return {
            path.name: verify(
                paths.float_model, path, data=paths.unseen, limit=NUM_VERIFIED, progress=progress
            )
            for path in (paths.int8_model, paths.onnx_model)
        }


def _draw_answers(paths: ChapterPaths) -> None:
    """Draw the int8 file's answers onto some images that it never saw."""
    from edgevision.data.images import list_images, spread_evenly
    from edgevision.runtime.draw import save_annotated
    from edgevision.runtime.predict import predict

    files = spread_evenly(list_images(paths.unseen), NUM_PICTURES)
    # A small picture has room for one class.
    top_k = 1 if paths.chapter.task is Task.CLASSIFY else None
    for answered in predict(paths.int8_model, files, top_k=top_k):
        picture = paths.pictures / f"{answered.image.stem}.png"
        save_annotated(answered.image, answered.answer, picture)


def _benchmark(terminal: Terminal, chapters: list[ChapterPaths]) -> BenchmarkReport:
    """Measure the files of each chapter beside each other, all in one report."""
    from edgevision.benchmarks.benchmark import benchmark

    with terminal.progress() as progress:
        reports = [
            benchmark(
                paths.models,
                threads=(1,),
                data=paths.val_data,
                seconds=BENCHMARK_SECONDS,
                progress=progress,
            )
            for paths in chapters
        ]
    rows = tuple(row for report in reports for row in report.rows)
    data = str(chapters[0].folder / "data")
    return replace(reports[0], rows=rows, data=data)


def _judge(
    report: BenchmarkReport, chapters: list[ChapterPaths], verdicts: dict[str, VerificationResult]
) -> Iterator[Check]:
    """Hold the figures against the bars of the demo."""
    from edgevision.benchmarks.report.page import Check

    scores = {row.file: row.accuracy for row in report.rows}
    for paths in chapters:
        chapter = paths.chapter
        before, after = (
            scores[str(path)][chapter.metric] for path in (paths.float_model, paths.int8_model)
        )
        yield Check(
            name=f"{chapter.name}: {chapter.figure} of the int8 file on unseen images",
            figure=format_percent(after),
            passed=after >= chapter.min_score,
        )
        yield Check(
            name=f"{chapter.name}: what int8 costs",
            figure=f"{100 * (before - after):.2f} points",
            passed=before - after <= chapter.max_drop,
        )
    for name, verdict in verdicts.items():
        yield Check(
            name=f"{name} answers like the float file",
            figure=format_percent(verdict.agreement),
            passed=verdict.agreement >= MIN_AGREEMENT,
        )
