"""Recognizing the formats in which boxes come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgevision.data.annotations import BoxAnnotations, BoxSource, join_annotations
from edgevision.data.coco import find_coco_boxes
from edgevision.data.images import scan_images
from edgevision.data.parts import find_part_folders, pick_part
from edgevision.data.scene_records import find_scene_boxes
from edgevision.data.voc import find_voc
from edgevision.errors import DataError, MissingFileError
from edgevision.specs import Part

_FINDERS: tuple[Callable[[Path], BoxSource | None], ...] = (
    find_scene_boxes,
    find_voc,
    find_coco_boxes,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PartFolders:
    """A folder of ``train``, ``val`` and ``test`` folders, each a data set."""

    root: Path
    sources: dict[Part, BoxSource]

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self.sources)

    def read(self, part: Part | None, *, skip_broken: bool) -> BoxAnnotations:
        if part is not None:
            chosen = pick_part(self.sources, part, self.root)
            return chosen.read(None, skip_broken=skip_broken)
        pieces = [s.read(None, skip_broken=skip_broken) for s in self.sources.values()]
        return join_annotations(pieces)


def find_box_source(root: Path) -> BoxSource:
    """Recognize a data set of boxes by its files.

    Raises:
        MissingFileError: The source does not exist.
        DataError: It is no known format.
    """
    if not root.exists():
        raise MissingFileError(
            "there is no such folder or file", received=root, remedy="check the path"
        )
    found = _find_format(root)
    if found is None:
        folders = {part: _find_format(f) for part, f in find_part_folders(root).items()}
        sources = {part: source for part, source in folders.items() if source is not None}
        found = _PartFolders(root=root, sources=sources) if sources else None
    if found is None:
        raise DataError(
            "no boxes are found here",
            received=describe_place(root),
            remedy="boxes come as Pascal VOC (Annotations/*.xml and JPEGImages), COCO "
            "(instances*.json and images) or scenes.json",
        )
    return found


def _find_format(root: Path) -> BoxSource | None:
    return next((found for find in _FINDERS if (found := find(root)) is not None), None)


def describe_place(root: Path) -> str:
    """Tell what a file or folder is, for an error message."""
    if root.is_file():
        return f"the file {root}"
    images, others = scan_images(root)
    kinds = ", ".join(f"{count} of {suffix}" for suffix, count in others.most_common(3))
    return f"{root} holds {len(images)} images" + (f", {kinds}" if kinds else "")
