"""``edgevision predict``: what the device will say about these images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
from edgevision.errors import InvalidConfigError
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
    from edgevision.runtime.predict import predict

    files = expand_images(images)
    pictures = name_pictures(files, save) if save is not None else []
    answers = predict(
        model,
        files,
        device=device,
        threads=threads,
        top_k=top_k,
        threshold=threshold,
        on_assumed=lambda parts: terminal.note(
            f"the file does not say {', '.join(parts)}: assumed"
        ),
        task=task,
        labels=labels,
        mean=parse_values(mean, "--mean"),
        std=parse_values(std, "--std"),
        resize=resize,
        crop_fraction=crop_fraction,
    )
    if pictures:
        from edgevision.runtime.draw import save_annotated

        for answered, picture in zip(answers, pictures, strict=True):
            save_annotated(answered.image, answered.answer, picture)
    document = [answered.to_dict() for answered in answers]
    terminal.finish(document, lambda console: _render(console, document))


def name_pictures(files: Sequence[Path], folder: Path) -> list[Path]:
    """Name a picture for each image: never the same twice, never an image itself.

    >>> names = name_pictures([Path("cat/1.jpg"), Path("dog/1.jpg"), Path("2.jpg")], Path("out"))
    >>> [path.name for path in names]
    ['cat_1.png', 'dog_1.png', '2.png']

    Raises:
        InvalidConfigError: A picture would replace one of the images.
    """
    stems = Counter(file.stem for file in files)
    named = [f"{f.parent.name}_{f.stem}" if stems[f.stem] > 1 else f.stem for f in files]
    pictures: list[Path] = []
    for name in named:
        picture, count = folder / f"{name}.png", 1
        while picture in pictures:
            count += 1
            picture = folder / f"{name}_{count}.png"
        pictures.append(picture)
    images = {file.resolve() for file in files}
    replaced = next((picture for picture in pictures if picture.resolve() in images), None)
    if replaced is not None:
        raise InvalidConfigError(
            "an annotated picture would replace its image",
            received=f"--save {folder}: {replaced.name}",
            remedy="name another folder",
        )
    return pictures


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
