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
    GpuFloat32,
    LabelsFile,
    Mean,
    OnDevice,
    Resize,
    Std,
    TaskOption,
    Threads,
    parse_values,
)
from edgevision.cli.predict_stream import MASKS_FOLDER, predict_stream, save_picture
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
    images: Annotated[list[Path] | None, typer.Argument(help="Image files or folders.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", help="In place of images: a folder, a video, or a camera's number: stream."
        ),
    ] = None,
    device: OnDevice = Device.CPU,
    threads: Threads = None,
    gpu_float32: GpuFloat32 = False,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", min=1, help="Answers per image; by default 5 classes, all boxes."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            help="Leave out answers below this score; by default 0, for boxes 0.3.",
        ),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", min=1, help="With --source: stop after so many.")
    ] = None,
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
    options: dict[str, Any] = {
        "device": device,
        "threads": threads,
        "gpu_float32": gpu_float32,
        "top_k": top_k,
        "threshold": threshold,
        "on_assumed": lambda parts: terminal.note(
            f"the file does not say {', '.join(parts)}: assumed"
        ),
        "task": task,
        "labels": labels,
        "mean": parse_values(mean, "--mean"),
        "std": parse_values(std, "--std"),
        "resize": resize,
        "crop_fraction": crop_fraction,
    }
    if bool(images) == (source is not None):
        raise InvalidConfigError(
            "predict takes images, or one --source",
            received="both" if images else "neither",
            remedy="name image files or folders; or --source with a folder, a video or a camera",
        )
    if source is not None:
        predict_stream(terminal, model, source, save=save, max_frames=max_frames, **options)
    else:
        _predict_files(terminal, model, images or [], save=save, **options)


def _predict_files(
    terminal: Terminal, model: Path, images: Sequence[Path], *, save: Path | None, **options: Any
) -> None:
    from edgevision.data.images import expand_images
    from edgevision.runtime.predict import predict_each

    files = expand_images(images)
    pictures = name_pictures(files, save) if save is not None else []
    document = []
    for number, answered in enumerate(predict_each(model, files, **options)):
        if pictures:
            save_picture(answered.image, answered.answer, pictures[number])
        document.append(answered.to_dict())
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
    written = (*pictures, *(folder / MASKS_FOLDER / picture.name for picture in pictures))
    replaced = next((picture for picture in written if picture.resolve() in images), None)
    if replaced is not None:
        raise InvalidConfigError(
            "an annotated picture would replace its image",
            received=f"--save {folder}: {replaced.name}",
            remedy="name another folder",
        )
    return pictures


def _render(console: Any, document: list[dict[str, Any]]) -> None:
    first = document[0]
    if "areas" in first:
        table = create_table("image", "class", "share", "pixels", left=(0, 1))
    elif any("box" in answer for row in document for answer in row["predictions"]):
        table = create_table("image", "label", "score", "ymin", "xmin", "ymax", "xmax", left=(0, 1))
    else:
        table = create_table("image", "label", "score", left=(0, 1))
    width = len(table.columns) - 1
    for row in document:
        name = row["image"]
        for cells in _list_cells(row) or [["–"] * width]:
            table.add_row(name, *cells)
            name = ""
    console.print(table)


def _list_cells(row: dict[str, Any]) -> list[list[str]]:
    if "areas" in row:
        return [[a["label"], f"{a['share']:.1%}", str(a["pixels"])] for a in row["areas"]]
    return [
        [a["label"], f"{a['score']:.3f}", *(f"{v:.0f}" for v in a.get("box", ()))]
        for a in row["predictions"]
    ]
