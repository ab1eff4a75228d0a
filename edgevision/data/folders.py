"""Labelled images: one folder per class, or a folder with ``labels.csv``."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edgevision.data.images import SUFFIXES, decode_image, scan_images
from edgevision.data.labels import (
    CSV_NAME,
    drop_repeated,
    match_labels,
    name_some,
    number_labels,
    read_rows,
)
from edgevision.errors import DataError, InvalidConfigError, MissingFileError
from edgevision.specs import Progress
from edgevision.threads import count_cores

_PART_NAMES = frozenset(("train", "training", "val", "valid", "validation", "test", "testing"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDataset:
    """Image files with their classes.

    Attributes:
        files: The images.
        targets: Class index of each file.
        labels: Class names; ``targets`` are indices into it.
        skipped: Files that were left out, each with the reason.
        notes: What a person should know about how the folder was read.
    """

    files: tuple[Path, ...]
    targets: tuple[int, ...]
    labels: tuple[str, ...]
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.files) != len(self.targets):
            raise InvalidConfigError(
                "every file has one target",
                received=f"{len(self.files)} files, {len(self.targets)} targets",
            )
        if self.targets and not 0 <= min(self.targets) <= max(self.targets) < len(self.labels):
            raise InvalidConfigError(
                "targets are indices of labels",
                received=f"{min(self.targets)} to {max(self.targets)}, {len(self.labels)} labels",
            )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of images of each class."""
        found = Counter(self.targets)
        return tuple(found[index] for index in range(len(self.labels)))

    def split(self, val_fraction: float, seed: int) -> tuple[ImageDataset, ImageDataset]:
        """Split every class into a training and a validation part.

        Which part a file falls into depends on its name, its class and the seed alone, so that
        adding files moves hardly any other. A class with two or more images has at least one in
        both parts; the only image of a class is for training, and ``notes`` says so.

        Args:
            val_fraction: Share of each class that goes to validation, in (0, 1).
            seed: Another seed gives another split.

        Returns:
            ``(train, val)``, files in their original order.
        """
        if not 0 < val_fraction < 1:
            raise InvalidConfigError(
                "the validation share must be between 0 and 1",
                received=f"val_fraction={val_fraction}",
                remedy="try 0.2",
            )
        members: dict[int, list[int]] = {}
        for index, target in enumerate(self.targets):
            members.setdefault(target, []).append(index)
        chosen: set[int] = set()
        for target, indices in members.items():
            count = min(max(round(len(indices) * val_fraction), 1), len(indices) - 1)
            label = self.labels[target]
            ordered = sorted(indices, key=lambda i: _draw_key(self.files[i], label, seed))
            chosen.update(ordered[:count])
        single = [self.labels[t] for t, indices in sorted(members.items()) if len(indices) == 1]
        note = f"one image only, used for training: {name_some(single)}"
        train = self._select(i for i in range(len(self)) if i not in chosen)
        notes = (*self.notes, note) if single else self.notes
        return replace(train, notes=notes), self._select(sorted(chosen))

    def _select(self, indices: Iterable[int]) -> ImageDataset:
        kept = tuple(indices)
        files = tuple(self.files[i] for i in kept)
        return replace(self, files=files, targets=tuple(self.targets[i] for i in kept))


def read_dataset(
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> ImageDataset:
    """Read a folder of labelled images.

    Either every sub-folder is a class (sorted by name; images at any depth inside), or the folder
    holds ``labels.csv`` with the columns ``file`` and ``label``; ``label`` is a class name or an
    index. The images are not decoded here: a broken one is reported by whoever decodes it, or
    all at once by ``check_dataset``.

    Args:
        folder: The folder.
        labels: The model's class names in the order of its output. Folder and CSV names are
            matched to them (case and ``_`` or ``-`` for a space do not matter); numbers that are
            no names are indices. ``None`` or empty: the names found, sorted.
        skip_broken: Decode every image once, and leave out those that can not be read.
        progress: Called while images are checked.

    Raises:
        MissingFileError: The folder does not exist.
        DataError: No classes, no images, labels that the model does not have, or a CSV that
            names missing files (their lines are told).
    """
    root = Path(folder)
    if not root.exists():
        raise MissingFileError("there is no such folder", received=root, remedy="check the path")
    if not root.is_dir():
        raise DataError("a folder of images is needed", received=root, remedy="name its folder")
    read = _read_csv if (root / CSV_NAME).is_file() else _read_class_folders
    dataset = read(root, tuple(labels or ()), skip_broken)
    return check_dataset(dataset, skip_broken=True, progress=progress) if skip_broken else dataset


def check_images(
    files: Sequence[Path], *, threads: int | None = None, progress: Progress | None = None
) -> tuple[tuple[Path, str], ...]:
    """Decode every image, and return those that can not be decoded with the reason.

    Args:
        files: The images.
        threads: Decoding threads; ``None`` for one per usable core.
        progress: Called after every image.
    """
    broken = []
    with ThreadPoolExecutor(threads or count_cores()) as pool:
        for done, (file, reason) in enumerate(
            zip(files, pool.map(_find_fault, files), strict=True)
        ):
            if reason:
                broken.append((file, reason))
            if progress:
                progress("checking images", done + 1, len(files))
    return tuple(broken)


def find_sound(
    files: Sequence[Path], progress: Progress | None
) -> tuple[list[int], tuple[tuple[Path, str], ...]]:
    """Decode every image, and tell apart those that can be decoded.

    Returns:
        ``(indices of the sound images, the broken ones with the reason)``.

    Raises:
        DataError: None is sound.
    """
    broken = check_images(files, progress=progress)
    bad = {file for file, _ in broken}
    kept = [index for index, file in enumerate(files) if file not in bad]
    if not kept:
        raise DataError("no image can be read", received=broken[0][1], remedy="check the folder")
    return kept, broken


def check_dataset(
    dataset: ImageDataset,
    *,
    skip_broken: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ImageDataset:
    """Decode every image of a data set before the long work starts.

    Returns:
        The data set, without the broken files when they may be skipped; they are in ``skipped``.

    Raises:
        DataError: Broken files (the first are named), or none is left.
    """
    broken = check_images(dataset.files, threads=threads, progress=progress)
    if not broken:
        return dataset
    if not skip_broken:
        raise DataError(
            f"{len(broken)} of {len(dataset)} images can not be read",
            received=name_some([reason for _, reason in broken], separator="; "),
            remedy="repair or remove them, or leave them out with --skip-broken",
        )
    bad = {file for file, _ in broken}
    kept = dataset._select(i for i, f in enumerate(dataset.files) if f not in bad)
    if not kept.files:
        raise DataError("no image can be read", received=broken[0][1], remedy="check the folder")
    return replace(kept, skipped=dataset.skipped + broken)


def _find_fault(file: Path) -> str:
    try:
        decode_image(file)
    except (DataError, MissingFileError) as error:
        return str(error)
    return ""


def _draw_key(file: Path, label: str, seed: int) -> tuple[str, Path]:
    text = f"{seed}/{label}/{file.name}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(), file


def _read_class_folders(root: Path, labels: tuple[str, ...], _: bool) -> ImageDataset:
    entries = _list_entries(root)
    folders = [p for p in entries if p.is_dir()]
    loose = [p for p in entries if p.suffix.lower() in SUFFIXES and p.is_file()]
    _check_is_labelled(root, folders, loose)
    notes = [f"images beside the class folders, left out: {len(loose)}"] if loose else []
    images: dict[str, list[Path]] = {}
    for place in folders:
        found, others = scan_images(place)
        if found or not others:
            images[place.name] = found
        if not found:
            state = "holds no images, left out" if others else "is empty"
            notes.append(f"class folder {place.name!r} {state}")
    if not any(images.values()):
        raise DataError(
            "no images in the class folders", received=root, remedy="put .jpg or .png files there"
        )
    names = [name for name, files in images.items() if files or not labels]
    indices = match_labels(names, labels, root)
    pairs = [(file, indices[name]) for name, files in images.items() for file in files]
    return _build(pairs, labels or tuple(names), notes)


def _list_entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise DataError(
            "the folder can not be read", received=f"{folder}: {error.strerror}"
        ) from error


def _check_is_labelled(root: Path, folders: list[Path], loose: list[Path]) -> None:
    if not folders:
        raise DataError(
            "these images have no labels" if loose else "no images in this folder",
            received=f"{root} holds {len(loose)} images",
            remedy=f"make one sub-folder per class, or add {CSV_NAME} with the columns file,label",
        )
    parts = {p.name.lower() for p in folders} <= _PART_NAMES
    if parts and all(any(c.is_dir() for c in _list_entries(p)) for p in folders):
        raise DataError(
            "this folder holds parts of a data set, not classes",
            received=f"{root} holds {', '.join(p.name for p in folders)}",
            remedy=f"name one part, such as {folders[0]}",
        )


def _build(
    pairs: Sequence[tuple[Path, int]],
    labels: tuple[str, ...],
    notes: Sequence[str],
    skipped: tuple[tuple[Path, str], ...] = (),
) -> ImageDataset:
    return ImageDataset(
        files=tuple(file for file, _ in pairs),
        targets=tuple(target for _, target in pairs),
        labels=labels,
        skipped=skipped,
        notes=tuple(notes),
    )


def _read_csv(root: Path, labels: tuple[str, ...], skip_broken: bool) -> ImageDataset:
    source = root / CSV_NAME
    rows, notes = drop_repeated(read_rows(source), source)
    missing = [row for row in rows if not row.file.is_file()]
    if missing and (not skip_broken or len(missing) == len(rows)):
        raise DataError(
            f"{CSV_NAME} names {len(missing)} files that do not exist",
            received=name_some([f"line {row.line}: {row.file}" for row in missing]),
            remedy="paths are relative to the folder; correct the lines, or pass --skip-broken",
        )
    skipped = tuple((row.file, f"line {row.line} of {CSV_NAME}: no such file") for row in missing)
    listed = {row.file for row in rows}
    extra = sum(p.suffix.lower() in SUFFIXES and p not in listed for p in _list_entries(root))
    if extra:
        notes.append(f"images that {CSV_NAME} does not list, left out: {extra}")
    order, indices = number_labels(rows, labels, source)
    absent = {row.file for row in missing}
    kept = [(row.file, indices[row.label]) for row in rows if row.file not in absent]
    return _build(kept, order, notes, skipped)
