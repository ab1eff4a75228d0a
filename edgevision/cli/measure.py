"""``edgevision profile``, ``evaluate`` and ``explain``: cost, accuracy and placement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevision.cli.command import command
from edgevision.cli.options import (
    Alpha,
    Channels,
    Classes,
    CropFraction,
    GpuFloat32,
    InputSize,
    LabelsFile,
    Mean,
    OnDevice,
    Resize,
    SkipBroken,
    Std,
    TaskOption,
    Threads,
    parse_size,
    parse_values,
)
from edgevision.cli.terminal import Terminal, create_table
from edgevision.errors import InvalidConfigError
from edgevision.specs import Device, Part
from edgevision.units import NOTHING, format_bytes, format_count, format_percent


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    command(app, "profile", panel="Measure")(profile_target)
    command(app, "evaluate", panel="Measure")(evaluate_file)
    command(app, "explain", panel="Measure")(explain_file)


def profile_target(
    terminal: Terminal,
    *,
    target: Annotated[
        str, typer.Argument(help="A name from `edgevision models`, or a model file.")
    ],
    alpha: Alpha = 1.0,
    input_size: InputSize = None,
    classes: Classes = None,
    channels: Channels = 3,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Print a row for every operation.")
    ] = False,
    per_block: Annotated[
        bool, typer.Option("--per-block", help="Print a row for every block of the network.")
    ] = False,
) -> None:
    """Count MACs, parameters and memory; no training, no image, only Keras files load TensorFlow.

    Width, input size, classes and channels can be chosen for networks of the zoo only.
    """
    from edgevision.benchmarks.profile import profile

    document = profile(
        target,
        alpha=alpha,
        input_size=parse_size(input_size),
        num_classes=classes,
        channels=channels,
    ).to_dict()
    terminal.finish(
        document, lambda console: _render_profile(console, document, per_layer, per_block)
    )


def _render_profile(
    console: Any, document: dict[str, Any], per_layer: bool, per_block: bool
) -> None:
    if per_layer:
        _render_layers(console, document["layers"])
    if per_block:
        _render_blocks(console, document["blocks"], document["macs"])
    rows = (
        ("MACs", f"{format_count(document['macs'])} ({document['macs']:,})"),
        ("parameters", f"{format_count(document['params'])} ({document['params']:,})"),
        ("file", format_bytes(document["file_bytes"])),
        ("activations, TFLite Micro", format_bytes(document["arena_bytes"]["tflite_micro"])),
        ("activations, TFLite", format_bytes(document["arena_bytes"]["tflite"])),
    )
    table = create_table(document["target"], "", left=(0,))
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if document["uncounted_ops"]:
        names = ", ".join(f"{n} x{c}" for n, c in document["uncounted_ops"].items())
        console.print(f"not counted: {names}", style="dim")


def _render_layers(console: Any, layers: list[dict[str, Any]]) -> None:
    headings = ("layer", "op", "output", "MACs", "params", "bytes", "MACs/byte")
    table = create_table(*headings, left=(0, 1))
    for layer in layers:
        table.add_row(
            layer["name"],
            layer["op"],
            "x".join(map(str, layer["output_shape"])),
            NOTHING if layer["macs"] is None else f"{layer['macs']:,}",
            f"{layer['params']:,}",
            f"{layer['output_bytes']:,}",
            NOTHING if layer["intensity"] is None else f"{layer['intensity']:.1f}",
        )
    console.print(table)


def _render_blocks(console: Any, blocks: list[dict[str, Any]], total_macs: int) -> None:
    table = create_table("block", "ops", "MACs", "share", "params", "largest output", left=(0,))
    for block in blocks:
        table.add_row(
            block["name"],
            str(block["num_layers"]),
            f"{block['macs']:,}",
            format_percent(block["macs"] / max(total_macs, 1)),
            f"{block['params']:,}",
            format_bytes(block["peak_bytes"]),
        )
    console.print(table)


def evaluate_file(
    terminal: Terminal,
    *,
    model: Annotated[Path, typer.Argument(help="A .tflite or .onnx file.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Class folders or labels.csv; Pascal VOC or COCO boxes; or images and masks.",
        ),
    ],
    part: Annotated[
        Part | None,
        typer.Option("--part", help="Part of the data; of boxes and masks by default val."),
    ] = None,
    device: OnDevice = Device.CPU,
    threads: Threads = None,
    gpu_float32: GpuFloat32 = False,
    task: TaskOption = None,
    labels: LabelsFile = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop_fraction: CropFraction = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Measure the accuracy of the file that ships."""
    from edgevision.benchmarks.accuracy import evaluate

    with terminal.progress() as progress:
        result = evaluate(
            model,
            data,
            part=part,
            device=device,
            threads=threads,
            gpu_float32=gpu_float32,
            task=task,
            labels=labels,
            mean=parse_values(mean, "--mean"),
            std=parse_values(std, "--std"),
            resize=resize,
            crop_fraction=crop_fraction,
            skip_broken=skip_broken,
            progress=progress,
        )
    for text in result.notes:
        terminal.note(text)
    document = result.to_dict()
    terminal.finish(document, lambda console: _render_evaluation(console, model, document))


# The figures of each task: key in the document, and heading. The first key tells the task.
_FIGURES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("top1", "top-1"), ("top5", "top-5")),
    (("map", "mAP"), ("map50", "mAP50"), ("map75", "mAP75")),
    (("mean_iou", "mean IoU"), ("pixel_accuracy", "pixel accuracy"), ("mean_dice", "mean Dice")),
)
# Figures of single classes; a thousand recalls of a classifier are left to --json.
_CLASS_FIGURES: dict[str, tuple[tuple[str, str], ...]] = {
    "map": (("objects", "objects"), ("ap", "AP"), ("ap50", "AP50")),
    "mean_iou": (("iou", "IoU"), ("dice", "Dice")),
}


def _render_evaluation(console: Any, model: Path, document: dict[str, Any]) -> None:
    figures = next(f for f in _FIGURES if f[0][0] in document)
    table = create_table("file", "images", *(heading for _, heading in figures))
    cells = (format_percent(document[key]) for key, _ in figures)
    table.add_row(str(model), str(document["samples"]), *cells)
    console.print(table)
    columns = _CLASS_FIGURES.get(figures[0][0])
    if columns is None or not document["per_class"]:
        return
    classes = create_table("class", *(heading for _, heading in columns))
    for row in document["per_class"]:
        classes.add_row(row["label"], *(_write_figure(row[key]) for key, _ in columns))
    console.print(classes)


def _write_figure(value: float) -> str:
    return str(value) if isinstance(value, int) else format_percent(value)


def explain_file(
    terminal: Terminal,
    *,
    model: Annotated[Path, typer.Argument(help="A .tflite file.")],
    device: OnDevice = Device.CPU,
    gpu_float32: GpuFloat32 = False,
    compile_to: Annotated[
        Path | None,
        typer.Option("--compile", help="With --device edgetpu: run edgetpu_compiler, write this."),
    ] = None,
) -> None:
    """Tell which operation runs on which device, and why not."""
    from edgevision.benchmarks.placement.explain import explain, explain_compiled

    if compile_to is None:
        document = explain(model, device=device, gpu_float32=gpu_float32).to_dict()
    elif device is Device.EDGETPU:
        document = explain_compiled(model, compile_to).to_dict()
    else:
        raise InvalidConfigError(
            "only files for the Edge TPU are compiled",
            received=f"--compile with --device {device}",
            remedy="add --device edgetpu",
        )

    def render(console: Any) -> None:
        table = create_table("#", "op", "name", "runs on", "reason", left=(1, 2, 3, 4))
        for op in document["ops"]:
            table.add_row(
                str(op["index"]),
                op["op"],
                op["name"][:48],
                _write_place(op, document["partitions"]),
                op["reason"],
            )
        console.print(table)
        predicted = any(op["confidence"] for op in document["ops"])
        console.print(
            f"{document['ops_delegated']} of {document['ops_total']} ops "
            f"{'likely ' if predicted else ''}delegated in {document['partitions']} partition(s)"
        )
        if document["mapped"]:
            _render_mapped(console, document["mapped"])
        for note in document["notes"]:
            console.print(note, style="dim")

    terminal.finish(document, render)


def _render_mapped(console: Any, rows: list[dict[str, Any]]) -> None:
    """Set the compiler beside the prediction, by kind of operation."""
    headings = ("op", "ops", "predicted", "compiled", "why the compiler left the others")
    table = create_table(*headings, left=(0, 4))
    for row in rows:
        numbers = (str(row[key]) for key in ("total", "predicted", "mapped"))
        table.add_row(row["op"], *numbers, "; ".join(row["statuses"]))
    console.print(table)


def _write_place(op: dict[str, Any], partitions: int) -> str:
    """Name the device, which of its calls where there are several, and a mere likelihood."""
    call = f" {op['partition']}" if partitions > 1 and op["partition"] is not None else ""
    likely = " (likely)" if op["confidence"] == "likely" else ""
    return f"{op['placement']}{call}{likely}"
