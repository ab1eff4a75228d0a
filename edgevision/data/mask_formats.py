"""Recognizing the formats in which masks come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgevision.data.box_formats import describe_place
from edgevision.data.coco import find_coco_masks
from edgevision.data.mask_annotations import MaskAnnotations, MaskReader, join_masks
from edgevision.data.mask_folders import find_mask_folders
from edgevision.data.parts import find_part_folders, pick_part
from edgevision.data.scene_records import find_scene_masks
from edgevision.errors import DataError, MissingFileError
from edgevision.specs import Part

_FINDERS: tuple[Callable[[Path], MaskReader | None], ...] = (
    find_scene_masks,
    find_mask_folders,
    find_coco_masks,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PartFolders:
    """A folder of ``train``, ``val`` and ``test`` folders, each a data set."""

    root: Path
    readers: dict[Part, MaskReader]

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self.readers)

    def read(self, part: Part | None, *, skip_broken: bool) -> MaskAnnotations:
        if part is not None:
            chosen = pick_part(self.readers, part, self.root)
            return chosen.read(None, skip_broken=skip_broken)
        return join_masks([r.read(None, skip_broken=skip_broken) for r in self.readers.values()])


def find_mask_reader(root: Path) -> MaskReader:
    """Recognize a data set of masks by its files.

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
        readers = {part: reader for part, reader in folders.items() if reader is not None}
        found = _PartFolders(root=root, readers=readers) if readers else None
    if found is None:
        raise DataError(
            "no masks are found here",
            received=describe_place(root),
            remedy="masks come as folders images and masks (or JPEGImages and SegmentationClass), "
            "COCO (instances*.json and images) or scenes.json",
        )
    return found


def _find_format(root: Path) -> MaskReader | None:
    return next((found for find in _FINDERS if (found := find(root)) is not None), None)
