"""``edgevision convert`` and ``verify``: another format, and the proof that it agrees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgevision.cli.command import EXIT_DONE, EXIT_GATE, command
from edgevision.cli.options import (
    CropFraction,
    GpuFloat32,
    InputSize,
    LabelsFile,
    Mean,
    Output,
    Resize,
    SkipBroken,
    Std,
    TaskOption,
    parse_size,
    parse_values,
)
from edgevision.cli.terminal import Terminal, create_table
from edgevision.specs import Device, Heads, Layout, Precision
from edgevision.units import NOTHING, format_bytes, format_percent


def _format_points(value: float) -> str:
    return f"{100 * value:+.2f} points"


# Heading, key of the document, how it is shown; each task has its own.
_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("same answer", "top1_agreement", format_percent),
    ("same boxes (F1)", "box_agreement", format_percent),
    ("same pixels", "pixel_agreement", format_percent),
    ("mAP", "map_delta", _format_points),
    ("mean IoU", "miou_delta", _format_points),
    ("largest error", "max_abs_error", "{:.3g}".format),
    ("SQNR", "sqnr_db", "{:.1f} dB".format),
)


# What stands in place of a heading where nobody annotated the images.
_UNANNOTATED = {
    "map_delta": "mAP50 against reference",
    "miou_delta": "mean IoU against reference",
}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(app, "convert", panel="Make a device file")(convert_model)
    command(app, "verify", panel="Make a device file")(verify_models)


def convert_model(
    terminal: Terminal,
    *,
    source: Annotated[
        Path, typer.Argument(help=".keras, .h5, SavedModel folder, .onnx or .tflite.")
    ],
    output: Output,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Precision of the weights.")
    ] = Precision.FLOAT32,
    layout: Annotated[
        Layout, typer.Option("--layout", help="Axis order of an ONNX model's image input.")
    ] = Layout.NHWC,
    heads: Annotated[
        Heads | None,
        typer.Option(
            "--heads",
            help="What a detector ends in: nms answers boxes (the default where the anchors are "
            "known), raw leaves decoding and suppression to the reader.",
        ),
    ] = None,
    argmax: Annotated[
        bool | None,
        typer.Option(
            "--argmax/--no-argmax",
            help="A segmenter answers the best class of each pixel, or scores.",
        ),
    ] = None,
    task: TaskOption = None,
    labels: LabelsFile = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop_fraction: CropFraction = None,
    score_threshold: Annotated[
        float | None,
        typer.Option("--score-threshold", help="Detector: leave out boxes that score below."),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option("--iou-threshold", help="Detector: overlap above which the better box stays."),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option("--max-detections", help="Detector: most boxes in one image.", metavar="N"),
    ] = None,
    class_agnostic: Annotated[
        bool | None,
        typer.Option(
            "--agnostic-nms/--class-nms",
            help="Detector: whether boxes of different classes suppress each other.",
        ),
    ] = None,
    input_size: InputSize = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images for the parity check; generated ones otherwise."),
    ] = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Convert a trained model to .tflite or .onnx and check that both give the same answers."""
    from edgevision.converters.convert import convert

    with terminal.progress() as progress:
        result = convert(
            source,
            output,
            precision=precision,
            layout=layout,
            heads=heads,
            argmax=argmax,
            task=task,
            labels=labels,
            mean=parse_values(mean, "--mean"),
            std=parse_values(std, "--std"),
            resize=resize,
            crop_fraction=crop_fraction,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_agnostic=class_agnostic,
            input_size=parse_size(input_size),
            parity_data=data,
            skip_broken=skip_broken,
            progress=progress,
        )
    for text in result.mended:
        terminal.note(text)
    for text in result.warnings:
        terminal.warn(text)
    document = result.to_dict()

    def render(console: Any) -> None:
        parity = document["parity"]
        console.print(
            f"{document['output']}: {document['format']}, {document['ops']} ops, "
            f"{format_bytes(Path(document['output']).stat().st_size)}"
        )
        console.print(
            f"agrees with the source on {parity['samples']} {parity['inputs']} inputs: "
            f"largest difference {parity['max_abs_error']:.2g}"
        )

    terminal.finish(document, render)


def verify_models(
    terminal: Terminal,
    *,
    reference: Annotated[Path, typer.Argument(help="The model that is right.")],
    candidate: Annotated[Path, typer.Argument(help="The model to check against it.")],
    data: Annotated[
        Path, typer.Option("--data", help="Folder of images; boxes and masks are used where known.")
    ],
    device: Annotated[
        Device, typer.Option("--device", help="Where the candidate runs; the reference: cpu.")
    ] = Device.CPU,
    gpu_float32: GpuFloat32 = False,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            "--min-agreement",
            min=0,
            max=1,
            help="Smallest share of equal answers, boxes or pixels (exit code 1).",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Use this many images at the most.")
    ] = None,
    skip_broken: SkipBroken = False,
) -> int:
    """Run two models on the same photos and compare their answers."""
    from edgevision.converters.verify import verify

    with terminal.progress() as progress:
        result = verify(
            reference,
            candidate,
            data=data,
            device=device,
            gpu_float32=gpu_float32,
            min_agreement=min_agreement,
            limit=limit,
            skip_broken=skip_broken,
            progress=progress,
        )
    for text in result.warnings:
        terminal.warn(text)
    document = result.to_dict()

    def render(console: Any) -> None:
        figures = _list_figures(document)
        table = create_table("images", *figures, "verdict")
        table.add_row(
            str(document["samples"]),
            *figures.values(),
            "passed" if document["passed"] else "failed",
            style="" if document["passed"] else "red",
        )
        console.print(table)

    terminal.finish(document, render)
    if not document["passed"]:
        terminal.fail(result.failure)
    return EXIT_DONE if document["passed"] else EXIT_GATE


def _list_figures(document: dict[str, Any]) -> dict[str, str]:
    """Return heading and text of each figure that the task has."""
    headings = {} if document.get("annotated") else _UNANNOTATED
    return {
        headings.get(key, name): NOTHING if document[key] is None else show(document[key])
        for name, key, show in _FIGURES
        if key in document
    }
