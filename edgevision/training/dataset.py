"""The images of a training run: read, checked, split, and identified."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.data.folders import ImageDataset, read_dataset
from edgevision.errors import DataError
from edgevision.specs import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Training and validation images over the same labels.

    Attributes:
        train: Images to learn from.
        val: Images to judge by, none of them in ``train``.
    """

    train: ImageDataset
    val: ImageDataset

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the model's output."""
        return self.train.labels

    def describe(self) -> dict[str, Any]:
        """Return what identifies the data, JSON-ready: counts, and a hash of the file lists."""
        return {
            "labels": list(self.labels),
            "train": _describe_part(self.train),
            "val": _describe_part(self.val),
        }


def read_training_data(
    folder: str | Path,
    *,
    val_folder: str | Path | None,
    val_fraction: float,
    seed: int,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> TrainingData:
    """Read labelled images, and hold some out where no validation folder is given.

    Raises:
        MissingFileError: A folder does not exist.
        DataError: Fewer than two classes, a class without images, a class with one image where it
            has to be split, or validation labels that training does not have.
    """
    whole = read_dataset(folder, skip_broken=skip_broken, progress=progress)
    _check_classes(whole, folder)
    if val_folder is None:
        _check_can_split(whole, folder)
        train, val = whole.split(val_fraction, seed)
        return TrainingData(train=train, val=val)
    val = read_dataset(val_folder, labels=whole.labels, skip_broken=skip_broken, progress=progress)
    return TrainingData(train=whole, val=val)


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


def _describe_part(dataset: ImageDataset) -> dict[str, Any]:
    counts = Counter(dataset.targets)
    return {
        "images": len(dataset),
        "classes": {label: counts[index] for index, label in enumerate(dataset.labels)},
        "files_sha256": hash_files(dataset),
        "skipped": [[str(path), reason] for path, reason in dataset.skipped],
    }


def hash_files(dataset: ImageDataset) -> str:
    """Hash the list of files: last two parts of the path, size in bytes, class.

    Moving the folder does not change it; adding, removing, renaming or re-labelling a file does.
    """
    digest = hashlib.sha256()
    for path, target in zip(dataset.files, dataset.targets, strict=True):
        name = "/".join(path.parts[-2:]).encode(errors="surrogateescape")
        digest.update(b"%s\t%d\t%d\n" % (name, path.stat().st_size, target))
    return digest.hexdigest()
