"""Images with a class for every pixel, from whatever format they were annotated in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Preprocessing
from edgevision.data.folders import find_sound
from edgevision.data.mask_annotations import IGNORED, MAX_CLASSES, MaskAnnotations, MaskSource
from edgevision.data.mask_checks import check_regions
from edgevision.data.mask_formats import MASKS
from edgevision.data.mask_pairs import check_pairs
from edgevision.data.preprocess import crop_box, letterbox_box
from edgevision.data.splits import split_indices
from edgevision.errors import DataError, InvalidConfigError
from edgevision.specs import Part, Progress, ResizeRule, parse_choice
from edgevision.threads import count_cores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskDataset:
    """Image files, each with a class for every pixel.

    Attributes:
        files: The images.
        sources: Where the mask of each image comes from.
        labels: Class names, background first where there is one.
        skipped: Files that were left out, each with the reason.
        notes: What a person should know about how the data was read.
    """

    files: tuple[Path, ...]
    sources: tuple[MaskSource, ...]
    labels: tuple[str, ...]
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.files) != len(self.sources):
            raise InvalidConfigError(
                "every file has one mask",
                received=f"{len(self.files)} files, {len(self.sources)} masks",
            )
        if not 2 <= len(self.labels) <= MAX_CLASSES:
            raise InvalidConfigError(
                f"masks have 2 to {MAX_CLASSES} classes, background included",
                received=f"{len(self.labels)} labels",
            )

    def __len__(self) -> int:
        return len(self.files)

    def load_mask(self, index: int) -> NDArray[np.uint8]:
        """Decode or draw the mask of one image; thread-safe.

        Returns:
            (H, W) uint8 class indices of the upright image, as ``decode_image`` turns it; 255 for
            pixels that are not counted.

        Raises:
            MissingFileError: The mask file is gone.
            DataError: It is damaged.
        """
        return self.sources[index].load()

    def count_pixels(self) -> tuple[int, ...]:
        """Count the pixels of each class over all masks, which are loaded for it."""
        with ThreadPoolExecutor(count_cores()) as pool:
            masks = pool.map(self.load_mask, range(len(self)))
            counts = sum(
                (np.bincount(mask.ravel(), minlength=256) for mask in masks), np.zeros(256, int)
            )
        return tuple(counts[: len(self.labels)].tolist())

    def describe(self) -> str:
        """Tell in one line how many images and classes there are."""
        return f"{len(self)} images, {len(self.labels)} classes ({', '.join(self.labels)})"

    def select(self, indices: Iterable[int]) -> MaskDataset:
        """Keep the images of these indices, in this order."""
        kept = tuple(indices)
        files = tuple(self.files[i] for i in kept)
        return replace(self, files=files, sources=tuple(self.sources[i] for i in kept))

    def split(self, val_fraction: float, seed: int) -> tuple[MaskDataset, MaskDataset]:
        """Split into a training and a validation part by a hash of the file names.

        Args:
            val_fraction: Share of the images that goes to validation, in (0, 1).
            seed: Another seed gives another split.

        Returns:
            ``(train, val)``, each with one image at least, files in their original order.

        Raises:
            InvalidConfigError: The share is out of range.
            DataError: There are fewer than two images.
        """
        train, val = split_indices(self.files, val_fraction, seed)
        return self.select(train), self.select(val)


def read_masks(
    source: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    part: str | None = None,
    ignore_index: int | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> MaskDataset:
    """Read images with a class for every pixel.

    Recognized are folders of images and of masks with the same names (``images`` and ``masks``,
    or ``JPEGImages`` and ``SegmentationClass`` with the lists of ``ImageSets/Segmentation``),
    COCO (polygons and run lengths in a ``.json``) and generated scenes (``scenes.json``). Also a
    folder of ``train``, ``val`` and ``test`` folders of that kind.

    Mask files hold class indices, as gray values or through a palette, and 255 for pixels that
    belong to no class; or black and white (0 and 255) for two classes. ``labels.txt`` beside them
    may name the classes, one a line. All of them are decoded once here, since only their values
    tell which. Of the images only the headers are read.

    Args:
        source: A folder, a list of VOC, or a COCO file.
        labels: The model's classes in order, background first. Names of the data are matched as in
            ``match_labels``; where it has none, mask values are the model's indices. ``None`` or
            empty: the classes of the data.
        part: ``"train"``, ``"val"`` or ``"test"``; ``None`` for everything.
        ignore_index: A value of mask files that is no class, beside 255.
        skip_broken: Decode every image once, and leave out those that can not be read, or whose
            mask is missing, damaged or of another size.
        progress: Called while masks and images are looked at.

    Raises:
        MissingFileError: The source does not exist.
        DataError: No known format, no such part, missing or damaged files, masks of another size
            than their image, values that are no classes, or classes that the model lacks.
    """
    root = Path(source)
    chosen = None if part is None else parse_choice(Part, part, "part")
    read = MASKS.find(root).read(chosen, skip_broken=skip_broken)
    dataset = _check_masks(
        read,
        tuple(labels or ()),
        root=root,
        ignore_index=ignore_index,
        skip_broken=skip_broken,
        progress=progress,
    )
    return _drop_broken(dataset, progress) if skip_broken else dataset


def list_mask_parts(source: str | os.PathLike[str]) -> tuple[Part, ...]:
    """List the parts that ``read_masks`` can tell apart, possibly none.

    Raises:
        MissingFileError: The source does not exist.
        DataError: It is no known format.
    """
    return MASKS.find(Path(source)).parts


def resize_mask(
    mask: NDArray[np.uint8], preprocessing: Preprocessing, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Bring a mask to a model's input size as ``Preprocessor.resize`` does its image.

    Every pixel takes the value of the nearest one: classes do not mix.

    Args:
        mask: (H, W) uint8 class indices.
        preprocessing: Its rule says what of the image is kept.
        size: (height, width) of the input.

    Returns:
        (height, width) uint8; 255 where a letterbox pads the image.

    >>> resize_mask(np.array([[0, 1], [2, 3]], np.uint8), Preprocessing(), (2, 4)).tolist()
    [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    whole = (mask.shape[0], mask.shape[1])
    if preprocessing.resize is ResizeRule.LETTERBOX:
        top, left, height, width = letterbox_box(whole, size)
        canvas = np.full(size, IGNORED, np.uint8)
        canvas[top : top + height, left : left + width] = _pick_nearest(mask, (height, width))
        return canvas
    if preprocessing.resize is ResizeRule.CROP:
        top, left, height, width = crop_box(whole, size, preprocessing.crop_fraction)
        mask = mask[top : top + height, left : left + width]
    return _pick_nearest(mask, size)


def _pick_nearest(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    rows, columns = (
        ((2 * np.arange(new) + 1) * old) // (2 * new)
        for new, old in zip(size, mask.shape, strict=True)
    )
    return np.ascontiguousarray(mask[rows[:, None], columns])


def _check_masks(
    read: MaskAnnotations,
    labels: tuple[str, ...],
    *,
    root: Path,
    ignore_index: int | None,
    skip_broken: bool,
    progress: Progress | None,
) -> MaskDataset:
    if bool(read.pairs) == bool(read.regions):
        raise DataError(
            "masks come as files or as outlines",
            received=f"{root}: {len(read.pairs)} files, {len(read.regions)} images with outlines",
            remedy="add masks" if not read.pairs else "read one part at a time",
        )
    if read.pairs:
        checked = check_pairs(
            read.pairs,
            read.labels,
            labels,
            root=root,
            ignore_index=ignore_index,
            skip_broken=skip_broken,
            progress=progress,
        )
    else:
        checked = check_regions(
            read.regions, read.labels, labels, root=root, skip_broken=skip_broken, progress=progress
        )
    return MaskDataset(
        files=checked.files,
        sources=checked.sources,
        labels=checked.labels,
        skipped=(*read.skipped, *checked.skipped),
        notes=(*read.notes, *checked.notes),
    )


def _drop_broken(dataset: MaskDataset, progress: Progress | None) -> MaskDataset:
    kept, broken = find_sound(dataset.files, progress)
    return replace(dataset.select(kept), skipped=dataset.skipped + broken)
