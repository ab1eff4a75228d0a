"""``edgevision demo``: the whole story on generated data, from images to a verified int8 file."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgevision.cli.benchmark import render_rows
from edgevision.cli.command import command
from edgevision.cli.terminal import Terminal
from edgevision.cli.train import draw_training
from edgevision.errors import OutputError, QualityGateError
from edgevision.units import format_percent

if TYPE_CHECKING:
    from edgevision.benchmarks.benchmark import BenchmarkReport
    from edgevision.benchmarks.report.page import Check
    from edgevision.converters.verify import VerificationResult

NETWORK, ALPHA, INPUT_SIZE = "mobilenet_v1", 0.25, 96
NUM_TRAIN, NUM_VAL, NUM_CALIBRATION = 1600, 400, 100
EPOCHS, BATCH_SIZE = 18, 32
MIN_TOP1, MAX_DROP, MIN_AGREEMENT = 0.95, 0.01, 0.97
MAX_FOLDERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPaths:
    """What the demo writes, all below one folder."""

    folder: Path

    @property
    def data(self) -> Path:
        """The generated images."""
        return self.folder / "data"

    @property
    def run(self) -> Path:
        """The training run."""
        return self.folder / "run"

    @property
    def float_model(self) -> Path:
        """The converted float32 file."""
        return self.folder / "model_float32.tflite"

    @property
    def int8_model(self) -> Path:
        """The file that ships."""
        return self.folder / "model_int8.tflite"

    @property
    def onnx_model(self) -> Path:
        """The float model as ONNX."""
        return self.folder / "model.onnx"

    @property
    def models(self) -> tuple[Path, Path, Path]:
        """All deployed files."""
        return self.float_model, self.int8_model, self.onnx_model


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
    """Draw a data set, train, convert, quantize, verify and benchmark, in about two minutes."""
    start = time.perf_counter()
    paths = DemoPaths(folder=create_folder(output))
    terminal.note(f"everything goes to {paths.folder}")
    _draw_data(terminal, paths, seed)
    _train(terminal, paths, seed)
    _convert(terminal, paths)
    verdicts = _verify(terminal, paths)
    report = _benchmark(terminal, paths)
    checks = _judge(report, verdicts)
    from edgevision.benchmarks.report.writer import write_report

    written = write_report(report, paths.folder, title="edgevision demo", checks=checks)
    document: dict[str, Any] = {
        "folder": str(paths.folder),
        "data": str(paths.data),
        "run": str(paths.run),
        "models": [str(path) for path in paths.models],
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
        console.print(f"\nreport: {written['html']}   ({document['seconds']:.0f} s in all)")
        console.print(f"next:   edgevision predict {paths.int8_model} {paths.data / 'val'}")

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


def _draw_data(terminal: Terminal, paths: DemoPaths, seed: int) -> None:
    from edgevision.data.scenes import write_dataset

    try:
        with terminal.progress() as progress:
            write_dataset(
                paths.data,
                num_train=NUM_TRAIN,
                num_val=NUM_VAL,
                size=INPUT_SIZE,
                seed=seed,
                progress=progress,
            )
    except BaseException:
        # An empty folder would only stand in the way of the next demo.
        with suppress(OSError):
            paths.folder.rmdir()
        raise


def _train(terminal: Terminal, paths: DemoPaths, seed: int) -> None:
    from edgevision.training.train import train

    with draw_training(terminal) as on_event:
        train(
            NETWORK,
            data=paths.data / "train",
            val_data=paths.data / "val",
            output=paths.run,
            alpha=ALPHA,
            input_size=INPUT_SIZE,
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            seed=seed,
            on_event=on_event,
        )


def _convert(terminal: Terminal, paths: DemoPaths) -> None:
    from edgevision.converters.convert import convert
    from edgevision.quantization.quantize import quantize

    with terminal.progress() as progress:
        source = paths.run / "model.keras"
        for path in (paths.float_model, paths.onnx_model):
            convert(source, path, progress=progress)
        quantize(
            paths.float_model,
            paths.int8_model,
            calibration=paths.data / "train",
            limit=NUM_CALIBRATION,
            progress=progress,
        )


def _verify(terminal: Terminal, paths: DemoPaths) -> dict[str, VerificationResult]:
    """Compare the other files with the float32 .tflite on the validation images."""
    from edgevision.converters.verify import verify

    with terminal.progress() as progress:
        return {
            path.name: verify(paths.float_model, path, data=paths.data / "val", progress=progress)
            for path in (paths.int8_model, paths.onnx_model)
        }


def _benchmark(terminal: Terminal, paths: DemoPaths) -> BenchmarkReport:
    from edgevision.benchmarks.benchmark import benchmark

    with terminal.progress() as progress:
        return benchmark(paths.models, threads=(1,), data=paths.data / "val", progress=progress)


def _judge(report: BenchmarkReport, verdicts: dict[str, VerificationResult]) -> tuple[Check, ...]:
    """Hold the figures against the bars of the demo."""
    from edgevision.benchmarks.report.page import Check

    top1_float, top1_int8, _ = (row.accuracy["top1"] for row in report.rows)
    drop = top1_float - top1_int8
    checks = [
        Check(
            name="int8 top-1 on unseen images",
            figure=format_percent(top1_int8),
            passed=top1_int8 >= MIN_TOP1,
        ),
        Check(
            name="accuracy that int8 costs",
            figure=f"{100 * drop:.2f} points",
            passed=drop <= MAX_DROP,
        ),
    ]
    checks += [
        Check(
            name=f"{name} answers like the float file",
            figure=format_percent(verdict.top1_agreement),
            passed=verdict.top1_agreement >= MIN_AGREEMENT,
        )
        for name, verdict in verdicts.items()
    ]
    return tuple(checks)
