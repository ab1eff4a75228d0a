"""Folders of images beside folders of masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgevision.data.images import scan_images
from edgevision.data.labels import name_some
from edgevision.data.mask_annotations import MaskAnnotations, MaskPair
from edgevision.data.parts import find_lists, find_part_folders, name_part, pick_part, read_list
from edgevision.errors import DataError
from edgevision.specs import Part

_LAYOUTS = (
    ("images", "masks"),
    ("JPEGImages", "SegmentationClass"),
    ("images", "SegmentationClass"),
    ("image", "mask"),
    ("imgs", "masks"),
    ("images", "labels"),
)
_NAME_FILES = ("labels.txt", "classes.txt", "class_names.txt")
_MASK_ENDINGS = ("_mask", "-mask", "_label")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFolders:
    """Images in one folder, masks of the same names in another.

    Attributes:
        root: The folder that holds both.
        images: Folder of the images, searched at any depth.
        masks: Folder of the masks, likewise.
        lists: ``ImageSets/Segmentation/train.txt`` and its like.
        listed: The one list to read, where it was named itself.
    """

    root: Path
    images: Path
    masks: Path
    lists: dict[Part, Path] = field(default_factory=dict)
    listed: Path | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have a list, or a folder among the masks; none for a single list."""
        return () if self.listed else tuple(self.lists or find_part_folders(self.masks))

    def read(self, part: Part | None, *, skip_broken: bool) -> MaskAnnotations:
        """Pair masks with their images by the names without suffix.

        Raises:
            DataError: There is no such part, or a mask has no image (skipped where wanted).
        """
        images = _index_files(self.images)
        masks = {_strip_ending(key): file for key, file in _index_files(self.masks).items()}
        keys = self._list_keys(part, masks)
        alone = [key for key in keys if key not in masks or key not in images]
        if alone and (not skip_broken or len(alone) == len(keys)):
            raise DataError(
                f"{len(alone)} of {len(keys)} masks have no image, or images no mask",
                received=f"{self.root}: {name_some(alone)}",
                remedy="an image and its mask have the same name but for the suffix",
            )
        paired = [key for key in keys if key in masks and key in images]
        unused = sorted(images.keys() - keys) if part is None and not self.listed else []
        return MaskAnnotations(
            pairs=tuple(MaskPair(file=images[key], mask=masks[key]) for key in paired),
            labels=_read_names(self.root, self.masks),
            skipped=tuple((self.masks / key, "image or mask is missing") for key in alone),
            notes=(f"images without a mask, left out: {len(unused)} ({name_some(unused)})",)
            if unused
            else (),
        )

    def _list_keys(self, part: Part | None, masks: dict[str, Path]) -> list[str]:
        if self.listed and part is not None:
            pick_part({}, part, self.listed)
        listed = pick_part(self.lists, part, self.root) if part and self.lists else self.listed
        if listed:
            # The lists of a single class have a second column.
            names = read_list(listed)
            return [name if name in masks else name.split(maxsplit=1)[0] for name in names]
        if part is None:
            return sorted(masks)
        folder = pick_part(find_part_folders(self.masks), part, self.root)
        return sorted(key for key in masks if key.partition("/")[0] == folder.name)


def find_mask_folders(source: Path) -> MaskFolders | None:
    """Recognize a folder of images and masks, or a list file of such a data set."""
    if source.is_file():
        return _find_list(source) if source.suffix.lower() == ".txt" else None
    folders = {p.name.lower(): p for p in sorted(source.iterdir()) if p.is_dir()}
    for images, masks in _LAYOUTS:
        if images.lower() in folders and masks.lower() in folders:
            return MaskFolders(
                root=source,
                images=folders[images.lower()],
                masks=folders[masks.lower()],
                lists=find_lists(source / "ImageSets" / "Segmentation"),
            )
    return None


def _find_list(file: Path) -> MaskFolders | None:
    for parent in file.resolve().parents[:3]:
        found = find_mask_folders(parent)
        if found:
            return MaskFolders(root=found.root, images=found.images, masks=found.masks, listed=file)
    return None


def _index_files(folder: Path) -> dict[str, Path]:
    images, _ = scan_images(folder)
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in images}


def _strip_ending(key: str) -> str:
    for ending in _MASK_ENDINGS:
        key = key.removesuffix(ending)
    return key


def _read_names(root: Path, masks: Path) -> tuple[str, ...]:
    """Read the class names, one a line, that lie beside the masks, or beside the parts."""
    places = (root, masks, root.parent) if name_part(root.name) else (root, masks)
    files = [place / name for place in places for name in _NAME_FILES]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        return ()
    # The first line of labelme, for what is masked out.
    return tuple(name for name in read_list(file) if name != "__ignore__")
