"""COCO annotations: one JSON file for all images, with boxes and outlines.

Boxes are ``x y width height`` with edges between pixels, so that nothing needs to be rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgevision.data.annotations import BoxAnnotations, ImageBoxes, join_annotations
from edgevision.data.image_finder import ImageFinder
from edgevision.data.json_files import read_json
from edgevision.data.labels import name_some
from edgevision.data.mask_annotations import MaskAnnotations, Region, RegionImage, join_masks
from edgevision.data.mask_classes import is_background_name
from edgevision.data.parts import name_part, pick_part
from edgevision.data.regions import parse_region
from edgevision.errors import DataError, summarize
from edgevision.specs import Part

Read = TypeVar("Read")
Record = dict[str, Any]

_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_FAULTS = (LookupError, TypeError, AttributeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CocoFiles:
    """The JSON files of a data set.

    Attributes:
        root: Folder below which the images are.
        files: All of them.
    """

    root: Path
    files: tuple[Path, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that files are named after."""
        return tuple(self._group())

    def _group(self) -> dict[Part, list[Path]]:
        groups: dict[Part, list[Path]] = {}
        for file in self.files:
            part = name_part(file.stem)
            if part is not None:
                groups.setdefault(part, []).append(file)
        return groups

    def _read_all(self, part: Part | None, read: Callable[[_CocoDocument], Read]) -> list[Read]:
        files = self.files if part is None else pick_part(self._group(), part, self.root)
        return [read(_open_document(file, self.root)) for file in files]


class CocoBoxes(_CocoFiles):
    """The boxes of a data set in COCO's format."""

    def read(self, part: Part | None, *, skip_broken: bool) -> BoxAnnotations:
        """Read the boxes of one part, or of all.

        Raises:
            DataError: There is no such part, or a file is damaged.
        """
        return join_annotations(self._read_all(part, _read_boxes))


class CocoMasks(_CocoFiles):
    """The outlines of a data set in COCO's format."""

    def read(self, part: Part | None, *, skip_broken: bool) -> MaskAnnotations:
        """Read the outlines of one part, or of all.

        Raises:
            DataError: There is no such part, or a file is damaged.
        """
        return join_masks(self._read_all(part, _read_regions))


def find_coco_boxes(source: Path) -> CocoBoxes | None:
    """Recognize a COCO file, or a folder that holds some."""
    root, files = _find_files(source)
    return CocoBoxes(root=root, files=files) if files else None


def find_coco_masks(source: Path) -> CocoMasks | None:
    """Recognize a COCO file, or a folder that holds some."""
    root, files = _find_files(source)
    return CocoMasks(root=root, files=files) if files else None


def _find_files(source: Path) -> tuple[Path, tuple[Path, ...]]:
    if source.is_file():
        root = source.parent
        named = source.suffix.lower() == ".json"
        return root.parent if root.name == "annotations" else root, (source,) if named else ()
    found = [*source.glob("*.json"), *source.glob("annotations/*.json")]
    instances = sorted(file for file in found if file.name.startswith("instances"))
    return source, tuple(instances or sorted(file for file in found if _has_keys(file)))


def _has_keys(file: Path) -> bool:
    try:
        data = file.read_bytes()
    except OSError:
        return False
    return all(key in data for key in _KEYS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _CocoDocument:
    """A COCO file, taken apart.

    Attributes:
        file: The file.
        categories: Class name of each identifier, in the order of the identifiers.
        images: The records of the images, in the order of their identifiers.
        annotations: Those of each image, by its identifier.
        finder: Finds image files.
        notes: What a person should know.
    """

    file: Path
    categories: dict[Any, str]
    images: list[Record]
    annotations: dict[Any, list[Record]]
    finder: ImageFinder
    notes: tuple[str, ...]


def _open_document(file: Path, root: Path) -> _CocoDocument:
    values = read_json(file)
    missing = [key for key in ("images", "annotations", "categories") if key not in values]
    if missing:
        raise DataError(
            "a COCO file has images, annotations and categories",
            received=f"{file} lacks {name_some(missing)}",
            remedy="name the file of the instances",
        )
    with _explain(file, "its tables"):
        order = sorted(values["categories"], key=lambda category: category["id"])
        categories = {category["id"]: str(category["name"]) for category in order}
        # The order in which COCO's own tools rank images with equal scores.
        images = sorted(values["images"], key=lambda image: image["id"])
        grouped: dict[Any, list[Record]] = {image["id"]: [] for image in images}
        strays = 0
        for annotation in values["annotations"]:
            members = grouped.get(annotation["image_id"])
            if members is None:
                strays += 1
            else:
                members.append(annotation)
    return _CocoDocument(
        file=file,
        categories=categories,
        images=images,
        annotations=grouped,
        finder=ImageFinder(root=root, beside=file.parent),
        notes=(f"annotations of images that {file.name} does not list: {strays}",)
        if strays
        else (),
    )


@contextmanager
def _explain(file: Path, place: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except _FAULTS as error:
        cause = f"no {error}" if isinstance(error, KeyError) else summarize(error)
        raise DataError(
            "the COCO file is damaged", received=f"{file}, {place}: {cause}", remedy="repair it"
        ) from error


def _read_boxes(document: _CocoDocument) -> BoxAnnotations:
    return BoxAnnotations(
        images=tuple(_build_boxes(document, image) for image in document.images),
        labels=tuple(dict.fromkeys(document.categories.values())),
        notes=document.notes,
    )


def _build_boxes(document: _CocoDocument, image: Record) -> ImageBoxes:
    file = document.file
    with _explain(file, f"image {image.get('id')}"):
        found = document.annotations[image["id"]]
        path = document.finder.find(str(image["file_name"]))
        size = _read_size(image)
    boxes, names, areas = [], [], []
    for item in found:
        with _explain(file, f"annotation {item.get('id')}"):
            left, top, width, height = (float(value) for value in item["bbox"])
            names.append(document.categories[item["category_id"]])
            areas.append(float(item.get("area") or np.nan))
            boxes.append((top, left, top + height, left + width))
    crowd = np.array([bool(item.get("iscrowd")) for item in found], bool)
    return ImageBoxes(
        file=path,
        source=file,
        size=size,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        names=tuple(names),
        places=tuple(f"annotation {item.get('id')}" for item in found),
        ignored=crowd,
        crowd=crowd,
        areas=np.array(areas, np.float64),
    )


def _read_size(image: Record) -> tuple[int, int] | None:
    height, width = (int(image.get(name) or 0) for name in ("height", "width"))
    return (height, width) if height > 0 and width > 0 else None


def _read_regions(document: _CocoDocument) -> MaskAnnotations:
    names = (name for name in document.categories.values() if not is_background_name(name))
    images = tuple(_build_regions(document, image) for image in document.images)
    drawn = sum(len(image.regions) for image in images)
    empty = sum(map(len, document.annotations.values())) - drawn
    if not drawn:
        raise DataError(
            "no object has an outline",
            received=document.file,
            remedy="masks need polygons or run lengths as segmentation",
        )
    notes = (f"objects without an outline, left out: {empty}",) if empty else ()
    return MaskAnnotations(
        regions=images,
        labels=("background", *dict.fromkeys(names)),
        notes=(*document.notes, *notes),
    )


def _build_regions(document: _CocoDocument, image: Record) -> RegionImage:
    file = document.file
    with _explain(file, f"image {image.get('id')}"):
        found = document.annotations[image["id"]]
        path = document.finder.find(str(image["file_name"]))
        size = _read_size(image)
    layers: list[tuple[float, str | None, Region]] = []
    for item in found:
        with _explain(file, f"annotation {item.get('id')}"):
            name = document.categories[item["category_id"]]
            area = float(item.get("area") or 0)
            region = parse_region(item.get("segmentation") or [])
        if region is not None and item.get("iscrowd"):
            layers.append((np.inf, None, region))
        elif region is not None:
            layers.append((area, name, region))
    # Crowds lie below, then large objects, so that small ones stay to be seen.
    layers.sort(key=lambda layer: -layer[0])
    regions = tuple((name, region) for _, name, region in layers)
    return RegionImage(file=path, source=file, size=size, regions=regions)
