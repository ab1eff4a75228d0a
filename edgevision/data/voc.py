"""Pascal VOC annotations: one XML file for each image.

Coordinates are taken as they are written. The original VOC counts pixels from 1 and includes the
last one; most tools that write this format today do neither, as most converters assume. The
difference is one pixel at the upper left edge of VOC's own images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from edgevision.data.annotations import BoxAnnotations, ImageBoxes
from edgevision.data.images import scan_images
from edgevision.data.labels import name_some
from edgevision.data.parts import find_lists, pick_part, read_list
from edgevision.errors import DataError, summarize
from edgevision.specs import Part

_ANNOTATION_FOLDERS = ("Annotations", "annotations")
_IMAGE_FOLDERS = ("JPEGImages", "images")
_CORNERS = ("ymin", "xmin", "ymax", "xmax")
_YES = frozenset(("1", "true", "yes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VocSource:
    """A data set in the layout of Pascal VOC.

    Attributes:
        root: The folder that holds the others.
        annotations: Folder of the XML files.
        images: Folder of the images, searched at any depth.
        lists: ``ImageSets/Main/train.txt`` and its like.
        listed: The one list to read, where it was named itself.
    """

    root: Path
    annotations: Path
    images: Path
    lists: dict[Part, Path] = field(default_factory=dict)
    listed: Path | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have a list; none for a single list."""
        return () if self.listed else tuple(self.lists)

    def read(self, part: Part | None, *, skip_broken: bool) -> BoxAnnotations:
        """Read the annotations of a part, or every XML file.

        Raises:
            DataError: There is no such part, a listed image has no annotation, or an XML file is
                damaged (the last two are skipped where that is wanted).
        """
        files = self._list_annotations(part)
        found, _ = scan_images(self.images)
        images: dict[str, list[Path]] = {}
        for image in found:
            images.setdefault(image.stem, []).append(image)
        records, skipped = [], []
        for file in files:
            try:
                records.append(_read_annotation(file, images, self.images))
            except DataError as error:
                if not skip_broken:
                    raise
                skipped.append((file, str(error)))
        return BoxAnnotations(
            images=tuple(records),
            labels=tuple(sorted({name for record in records for name in record.names})),
            skipped=tuple(skipped),
            notes=() if part or self.listed else _note_unused(images, files),
        )

    def _list_annotations(self, part: Part | None) -> list[Path]:
        source = self.listed
        if part is not None:
            source = pick_part({} if self.listed else self.lists, part, self.listed or self.root)
        if source is None:
            return sorted(f for f in self.annotations.glob("*.xml") if not f.name.startswith("."))
        return [self._find_listed(name) for name in read_list(source)]

    def _find_listed(self, name: str) -> Path:
        file = self.annotations / f"{name}.xml"
        # The lists of a single class have a second column.
        return file if file.is_file() else self.annotations / f"{name.split(maxsplit=1)[0]}.xml"


def find_voc(source: Path) -> VocSource | None:
    """Recognize a folder or a list file of a data set in the layout of Pascal VOC."""
    if source.is_file():
        return _find_list(source) if source.suffix.lower() == ".txt" else None
    for name in (*_ANNOTATION_FOLDERS, ""):
        place = source / name
        if next(place.glob("*.xml"), None) is not None:
            images = [source / folder for folder in _IMAGE_FOLDERS if (source / folder).is_dir()]
            return VocSource(
                root=source,
                annotations=place,
                images=images[0] if images else source,
                lists=find_lists(source / "ImageSets" / "Main"),
            )
    return None


def _find_list(file: Path) -> VocSource | None:
    for parent in file.resolve().parents[:3]:
        found = find_voc(parent)
        if found:
            return VocSource(
                root=found.root, annotations=found.annotations, images=found.images, listed=file
            )
    return None


def _note_unused(images: dict[str, list[Path]], files: list[Path]) -> tuple[str, ...]:
    unused = sorted(images.keys() - {file.stem for file in files})
    return (f"images without an annotation, left out: {name_some(unused)}",) if unused else ()


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree, and refuses a document type: entities of its own can grow without end."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise DataError("an annotation holds no document type", received=f"<!DOCTYPE {name}")


def _read_annotation(file: Path, images: dict[str, list[Path]], folder: Path) -> ImageBoxes:
    root = _parse_xml(file)
    objects = root.findall("object")
    boxes = [_read_box(item, file, index) for index, item in enumerate(objects)]
    difficult = [_read_text(item, "difficult").lower() in _YES for item in objects]
    return ImageBoxes(
        file=_find_image(file, _read_text(root, "filename"), images, folder),
        source=file,
        size=_read_size(root),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        names=tuple(_read_text(item, "name") for item in objects),
        places=tuple(f"box {index}" for index in range(len(objects))),
        ignored=np.array(difficult, bool),
        crowd=np.zeros(len(objects), bool),
        areas=np.full(len(objects), np.nan),
    )


def _parse_xml(file: Path) -> ElementTree.Element:
    if not file.is_file():
        raise DataError(
            "a listed image has no annotation", received=file, remedy="add it, or shorten the list"
        )
    try:
        # Entities can not be declared without a document type, which the builder refuses.
        parser = ElementTree.XMLParser(target=_Builder())
        root: ElementTree.Element = ElementTree.fromstring(file.read_bytes(), parser)
    except DataError as error:
        raise DataError(error.what, received=f"{file}: {error.received}") from error
    except (ElementTree.ParseError, OSError, ValueError, LookupError) as error:
        raise DataError(
            "the annotation is damaged",
            received=f"{file}: {summarize(error)}",
            remedy="repair it, or remove it with its image",
        ) from error
    if root.tag != "annotation":
        raise DataError(
            "a Pascal VOC file begins with <annotation>", received=f"{file}: <{root.tag}>"
        )
    return root


def _read_text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _read_box(item: ElementTree.Element, file: Path, index: int) -> list[float]:
    values = [_read_text(item, f"bndbox/{corner}") for corner in _CORNERS]
    try:
        box = [float(value) for value in values]
    except ValueError as error:
        raise DataError(
            "a box has the numbers ymin, xmin, ymax and xmax",
            received=f"{file}, box {index}: {values}",
        ) from error
    if not _read_text(item, "name"):
        raise DataError("a box has a class name", received=f"{file}, box {index}")
    return box


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        height, width = (int(float(_read_text(root, f"size/{n}"))) for n in ("height", "width"))
    except (ValueError, OverflowError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def _find_image(file: Path, name: str, images: dict[str, list[Path]], folder: Path) -> Path:
    """Find the image of the same stem; else the one that the annotation names."""
    written = Path(name.replace("\\", "/")).name
    found = images.get(file.stem) or images.get(Path(written).stem, [])
    named = [image for image in found if image.name == written]
    if found:
        return (named or found)[0]
    return folder / (written or f"{file.stem}.jpg")
