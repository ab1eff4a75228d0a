"""``edgevision predict``: what the device will say about these images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgevision.cli.command import command
from edgevision.cli.options import (
    CropFraction,
    LabelsFile,
    Mean,
    OnDevice,
    Resize,
    Std,
    TaskOption,
    Threads,
    parse_values,
)
from edgevision.cli.terminal import Terminal, create_table
from edgevision.specs import Device


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "predict", panel="Use")(predict_images)


def predict_images(
    terminal: Terminal,
    *,
    model: Annotated[Path, typer.Argument(help="A .tflite or .onnx file.")],
    images: Annotated[list[Path], typer.Argument(help="Image files or folders.")],
    device: OnDevice = Device.CPU,
    threads: Threads = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="Answers per image.")] = 5,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Leave out answers below this score.")
    ] = 0.0,
    task: TaskOption = None,
    labels: LabelsFile = None,
    mean: Mean = None,
    std: Std = None,
    resize: Resize = None,
    crop_fraction: CropFraction = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Folder for the images with the answers drawn in.")
    ] = None,
) -> None:
    """Run a model on images, as the device will."""
    from edgevision.data.images import expand_images
    from edgevision.runtime.load import load

    files = expand_images(images)
    classifier = load(
        model,
        device=device,
        threads=threads,
        task=task,
        labels=labels,
        mean=parse_values(mean, "--mean"),
        std=parse_values(std, "--std"),
        resize=resize,
        crop_fraction=crop_fraction,
    )
    if classifier.contract.assumed:
        terminal.note(f"the file does not say {', '.join(classifier.contract.assumed)}: assumed")
    document = []
    for file in files:
        answers = classifier.predict(file, top_k=top_k).above(threshold)
        document.append({"image": str(file), "predictions": answers.to_dict()["predictions"]})
        if save is not None:
            from edgevision.runtime.draw import save_annotated

            save_annotated(file, answers, save / f"{file.stem}.png")

    terminal.finish(document, lambda console: _render(console, document))


def _render(console: Any, document: list[dict[str, Any]]) -> None:
    table = create_table("image", "label", "score", left=(0, 1))
    for row in document:
        name = row["image"]
        for answer in row["predictions"]:
            table.add_row(name, answer["label"], f"{answer['score']:.3f}")
            name = ""
        if not row["predictions"]:
            table.add_row(name, "–", "–")
    console.print(table)
