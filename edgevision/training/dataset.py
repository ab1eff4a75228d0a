"""The data of a training run: read, checked, split, and identified."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data.boxes import BoxDataset, list_box_parts, read_boxes
from edgevision.data.folders import ImageDataset, read_dataset
from edgevision.data.masks import MaskDataset, list_mask_parts, read_masks
from edgevision.errors import DataError
from edgevision.specs import Part, Task

AnyDataset = ImageDataset | BoxDataset | MaskDataset


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Training and validation images over the same labels.

    Attributes:
        train: Images to learn from.
        val: Images to judge by, none of them in ``train``.
    """

    train: Any
    val: Any

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the model's output."""
        labels: tuple[str, ...] = self.train.labels
        return labels

    def describe(self) -> dict[str, Any]:
        """Return what identifies the data, JSON-ready: counts, and a hash of the file lists."""
        return {
            "labels": list(self.labels),
            "train": _describe_part(self.train),
            "val": _describe_part(self.val),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """How the data of a run are read.

    Attributes:
        folder: The training data, or all of it.
        val_folder: The validation data; otherwise the folder's own validation part, or a share.
        val_fraction: That share, in (0, 1).
        seed: Decides which images it takes.
        ignore_index: A value of mask files that is no class, beside 255.
        skip_broken: Leave unreadable images out instead of failing.
    """

    folder: str | Path
    val_folder: str | Path | None = None
    val_fraction: float = 0.2
    seed: int = 0
    ignore_index: int | None = None
    skip_broken: bool = False


def read_training_data(task: Task, options: DataOptions) -> TrainingData:
    """Read labelled images, and hold some out where no validation data are given.

    Raises:
        MissingFileError: A folder does not exist.
        DataError: No objects or too few classes or images, or validation labels that training
            does not have.
    """
    return _READERS[task](options)


def _read_classes(options: DataOptions) -> TrainingData:
    """Read class folders: at least two classes, each with an image to learn from."""
    whole = read_dataset(options.folder, skip_broken=options.skip_broken)
    _check_classes(whole, options.folder)
    if options.val_folder is None:
        _check_can_split(whole, options.folder)
        return _split(whole, options)
    val = read_dataset(options.val_folder, labels=whole.labels, skip_broken=options.skip_broken)
    return TrainingData(train=whole, val=val)


def _read_boxes(options: DataOptions) -> TrainingData:
    """Read boxes, and refuse data without any object to learn."""
    data = _read_parts(read_boxes, list_box_parts, options)
    for name, part in (("to learn from", data.train), ("to judge by", data.val)):
        if not sum(part.counts):
            raise DataError(
                f"a detector needs objects {name}",
                received=f"{options.folder}: {part.describe()}",
                remedy="annotate some, or name other validation data (--val-data)",
            )
    return data


def _read_masks(options: DataOptions) -> TrainingData:
    """Read masks, and refuse data with nothing to tell apart."""
    read = partial(read_masks, ignore_index=options.ignore_index)
    data = _read_parts(read, list_mask_parts, options)
    if len(data.labels) < 2:
        raise DataError(
            "a segmenter needs masks of at least two classes, the background counted",
            received=f"{options.folder} has {', '.join(data.labels)}",
        )
    return data


def _read_parts(read: Any, list_parts: Any, options: DataOptions) -> TrainingData:
    """Read the folder's own parts where it has them, otherwise hold a share out."""
    broken = options.skip_broken
    parts = list_parts(options.folder)
    part = Part.TRAIN if Part.TRAIN in parts else None
    train = read(options.folder, part=part, skip_broken=broken)
    if options.val_folder is not None:
        place = options.val_folder
        val_part = Part.VAL if Part.VAL in list_parts(place) else None
        val = read(place, labels=train.labels, part=val_part, skip_broken=broken)
        return TrainingData(train=train, val=val)
    if part and Part.VAL in parts:
        val = read(options.folder, labels=train.labels, part=Part.VAL, skip_broken=broken)
        return TrainingData(train=train, val=val)
    if len(train) < 2:
        raise DataError(
            "one image can not be split into training and validation",
            received=options.folder,
            remedy="add images, or give validation data (--val-data)",
        )
    return _split(train, options)


def _split(whole: Any, options: DataOptions) -> TrainingData:
    train, val = whole.split(options.val_fraction, options.seed)
    return TrainingData(train=train, val=val)


_READERS = {
    Task.CLASSIFY: _read_classes,
    Task.DETECT: _read_boxes,
    Task.SEGMENT: _read_masks,
}


def _check_classes(dataset: ImageDataset, folder: str | Path) -> None:
    if len(dataset.labels) < 2:
        raise DataError(
            "a classifier needs images of at least two classes",
            received=f"{folder} has {', '.join(dataset.labels) or 'none'}",
            remedy="make one sub-folder for each class",
        )
    counts = Counter(dataset.targets)
    empty = [label for index, label in enumerate(dataset.labels) if not counts[index]]
    if empty:
        raise DataError(
            "every class needs training images",
            received=f"none in {', '.join(empty)} of {folder}",
            remedy="add images, or remove the empty classes",
        )


def _check_can_split(dataset: ImageDataset, folder: str | Path) -> None:
    counts = Counter(dataset.targets)
    single = [label for index, label in enumerate(dataset.labels) if counts[index] == 1]
    if single:
        raise DataError(
            "a class with one image can not be split into training and validation",
            received=f"{', '.join(single)} in {folder}",
            remedy="add images to it, or give a validation folder (--val-data)",
        )


def _describe_part(dataset: AnyDataset) -> dict[str, Any]:
    return {
        "images": len(dataset),
        "classes": _count_classes(dataset),
        "files_sha256": hash_files(dataset),
        "skipped": [[str(path), reason] for path, reason in dataset.skipped],
    }


def _count_classes(dataset: AnyDataset) -> dict[str, int]:
    """Count images or boxes of each class; masks would have to be decoded for it."""
    if isinstance(dataset, MaskDataset):
        return {}
    if isinstance(dataset, BoxDataset):
        found = Counter(int(c) for classes in dataset.classes for c in classes)
    else:
        found = Counter(dataset.targets)
    return {label: found[index] for index, label in enumerate(dataset.labels)}


def hash_files(dataset: AnyDataset) -> str:
    """Hash the list of files: last two parts of the path, size in bytes, and what is in it.

    Moving the folder does not change it; adding, removing, renaming or re-labelling a file does.
    """
    digest = hashlib.sha256()
    for index, path in enumerate(dataset.files):
        name = "/".join(path.parts[-2:]).encode(errors="surrogateescape")
        target = _identify(dataset, index)
        digest.update(b"%s\t%d\t%s\n" % (name, path.stat().st_size, target))
    return digest.hexdigest()


def _identify(dataset: AnyDataset, index: int) -> bytes:
    """Return what tells the annotation of one image from another."""
    if isinstance(dataset, ImageDataset):
        return b"%d" % dataset.targets[index]
    if isinstance(dataset, BoxDataset):
        boxes = np.round(dataset.boxes[index], 2)
        return hashlib.sha256(
            boxes.tobytes() + dataset.classes[index].tobytes() + dataset.ignored[index].tobytes()
        ).digest()
    source = dataset.sources[index]
    return b"%d" % source.stat().st_size if isinstance(source, Path) else repr(source).encode()
