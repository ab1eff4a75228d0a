"""Writes tiny annotated data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112


def add_image(file: Path, size: tuple[int, int] = (40, 60), orientation: int = 1) -> Path:
    """Write a noisy image of (height, width) as stored."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(file.name)).integers(0, 256, (*size, 3), np.uint8)
    exif = Image.Exif()
    if orientation != 1:
        exif[_ORIENTATION] = orientation
    Image.fromarray(pixels).save(file, exif=exif)
    return file


def add_mask(file: Path, values: Any, *, palette: bool = False) -> Path:
    """Write a mask of values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if palette:
        image.putpalette([(7 * i + 3) % 256 for i in range(768)])
    image.save(file)
    return file


def describe_object(
    name: str, box: tuple[float, float, float, float], difficult: object = 0, extra: str = ""
) -> str:
    """Return the XML of one object; the box is xmin ymin xmax ymax, as VOC orders it."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{inner}</bndbox>{extra}</object>"
    )


def add_voc(
    root: Path,
    stem: str,
    *objects: str,
    size: tuple[int, int] | None = (40, 60),
    filename: str | None = None,
    image: bool = True,
) -> Path:
    """Write one annotation and its image, 40 by 60 pixels."""
    file = root / "Annotations" / f"{stem}.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    noted = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>" if size else ""
    name = filename or f"{stem}.jpg"
    file.write_text(
        f"<annotation><filename>{name}</filename>{noted}{''.join(objects)}</annotation>"
    )
    if image:
        add_image(root / "JPEGImages" / name)
    return file


def add_list(root: Path, name: str, *lines: str, kind: str = "Main") -> Path:
    """Write a list of VOC."""
    file = root / "ImageSets" / kind / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def add_coco(
    file: Path,
    annotations: list[dict[str, Any]],
    *,
    images: tuple[str, ...] = ("a.jpg",),
    categories: tuple[tuple[int, str], ...] = ((3, "cat"), (1, "dog")),
    size: tuple[int, int] = (40, 60),
) -> Path:
    """Write a COCO file; images are numbered from 1, and annotations belong to the first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    records = [
        {"id": number, "file_name": name, "height": size[0], "width": size[1]}
        for number, name in enumerate(images, 1)
    ]
    rows = [
        {"id": number, "image_id": 1, "category_id": 3, **values}
        for number, values in enumerate(annotations, 1)
    ]
    kinds = [{"id": number, "name": name} for number, name in categories]
    values = {"images": records, "annotations": rows, "categories": kinds}
    file.write_text(json.dumps(values))
    return file
