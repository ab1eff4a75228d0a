"""Images with boxes around their objects, from whatever format they were annotated in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgevision.data.annotations import BoxAnnotations, ImageBoxes
from edgevision.data.box_checks import BoxReport, check_boxes, note_unknown
from edgevision.data.box_formats import BOXES
from edgevision.data.folders import find_sound
from edgevision.data.headers import ImageHeader, read_headers
from edgevision.data.labels import match_known_labels, name_some
from edgevision.data.splits import split_indices
from edgevision.errors import DataError, InvalidConfigError
from edgevision.specs import Part, Progress, parse_choice

_NUM_DESCRIBED = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxDataset:
    """Image files with the boxes and classes of their objects.

    Attributes:
        files: The images; one without objects has no boxes.
        boxes: Of each image (N, 4) float32, ymin xmin ymax xmax, pixels of the upright image.
        classes: Of each image (N,) int64, indices into ``labels``.
        ignored: Of each image (N,) bool: difficult or crowd, neither a hit nor a miss.
        crowd: Of each image (N,) bool: a region of many objects (COCO ``iscrowd``).
        areas: Of each image (N,) float32, pixels of the object where it is noted, else of its box.
        labels: Class names.
        skipped: Files that were left out, each with the reason.
        notes: What a person should know about how the data was read.
    """

    files: tuple[Path, ...]
    boxes: tuple[NDArray[np.float32], ...]
    classes: tuple[NDArray[np.int64], ...]
    ignored: tuple[NDArray[np.bool_], ...]
    crowd: tuple[NDArray[np.bool_], ...]
    areas: tuple[NDArray[np.float32], ...]
    labels: tuple[str, ...]
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = (self.boxes, self.classes, self.ignored, self.crowd, self.areas)
        counts = {len(column) for column in columns}
        if counts != {len(self.files)}:
            raise InvalidConfigError(
                "every file has boxes, classes, flags and areas",
                received=f"{len(self.files)} files, columns of {sorted(counts)}",
            )

    def __len__(self) -> int:
        return len(self.files)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of boxes of each class, without the ignored ones."""
        total = np.zeros(len(self.labels), np.int64)
        for classes, ignored in zip(self.classes, self.ignored, strict=True):
            total += np.bincount(classes[~ignored], minlength=len(self.labels))
        return tuple(total.tolist())

    def describe(self) -> str:
        """Tell in one line how many images and boxes there are."""
        ignored = sum(int(flags.sum()) for flags in self.ignored)
        counts = dict(zip(self.labels, self.counts, strict=True))
        order = sorted(counts, key=lambda label: -counts[label])
        told = [f"{counts[label]} {label}" for label in order[:_NUM_DESCRIBED]]
        rest = sum(counts[label] for label in order[_NUM_DESCRIBED:])
        told += [f"{rest} of {len(order) - _NUM_DESCRIBED} other classes"] if rest else []
        told += [f"{ignored} ignored"] if ignored else []
        return f"{len(self)} images, {sum(counts.values()) + ignored} boxes ({', '.join(told)})"

    def select(self, indices: Iterable[int]) -> BoxDataset:
        """Keep the images of these indices, in this order."""
        kept = tuple(indices)
        return replace(
            self,
            files=tuple(self.files[i] for i in kept),
            boxes=tuple(self.boxes[i] for i in kept),
            classes=tuple(self.classes[i] for i in kept),
            ignored=tuple(self.ignored[i] for i in kept),
            crowd=tuple(self.crowd[i] for i in kept),
            areas=tuple(self.areas[i] for i in kept),
        )

    def split(self, val_fraction: float, seed: int) -> tuple[BoxDataset, BoxDataset]:
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


def read_boxes(
    source: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    part: str | None = None,
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> BoxDataset:
    """Read images with boxes.

    Recognized are Pascal VOC (``Annotations/*.xml`` with ``JPEGImages``, or XML files beside their
    images; ``ImageSets/Main`` lists its parts, and such a list can be named itself), COCO (a
    ``.json`` in the folder or in ``annotations``, or the file itself) and generated scenes
    (``scenes.json``). Also a folder of ``train``, ``val`` and ``test`` folders of that kind.

    Boxes lie in the upright image, as ``decode_image`` returns it. Boxes without area, outside the
    image or repeated are left out, and ``notes`` names them; boxes that reach over the edge are
    clipped. Only headers of images are read here.

    Args:
        source: A folder, a list of VOC, or a COCO file.
        labels: The model's object classes in order, without background. Names are matched as in
            ``match_labels``; boxes of classes that the model lacks are left out, and ``notes``
            says so. ``None`` or empty: the classes of the data (sorted, or in the order of COCO's
            identifiers).
        part: ``"train"``, ``"val"`` or ``"test"``; ``None`` for everything.
        skip_broken: Decode every image once, and leave out those that can not be read, or whose
            own annotation file (Pascal VOC) is damaged.
        progress: Called while images are looked at.

    Raises:
        MissingFileError: The source does not exist.
        DataError: No known format, no such part, damaged annotations, missing images, no classes,
            or none that the model has.
    """
    root = Path(source)
    chosen = None if part is None else parse_choice(Part, part, "part")
    read = BOXES.find(root).read(chosen, skip_broken=skip_broken)
    names = tuple(labels or ()) or read.labels
    if not names or not read.images:
        raise DataError(
            "boxes of one class at least are needed",
            received=f"{root}: {len(read.images)} images, no classes",
            remedy="annotate objects",
        )
    indices, unknown = match_known_labels(read.labels, names, root) if read.labels else ({}, [])
    dataset = _check_records(read, names, indices, skip_broken=skip_broken, progress=progress)
    lacking = note_unknown(chain.from_iterable(r.names for r in read.images), unknown)
    dataset = replace(dataset, notes=(*read.notes, *lacking, *dataset.notes))
    return _drop_broken(dataset, progress) if skip_broken else dataset


def list_box_parts(source: str | os.PathLike[str]) -> tuple[Part, ...]:
    """List the parts that ``read_boxes`` can tell apart, possibly none.

    Raises:
        MissingFileError: The source does not exist.
        DataError: It is no known format.
    """
    return BOXES.find(Path(source)).parts


def _check_records(
    read: BoxAnnotations,
    labels: tuple[str, ...],
    indices: dict[str, int],
    *,
    skip_broken: bool,
    progress: Progress | None,
) -> BoxDataset:
    report = BoxReport()
    rows, missing = [], []
    headers = read_headers([record.file for record in read.images])
    for done, (record, header) in enumerate(zip(read.images, headers, strict=True)):
        if isinstance(header, ImageHeader):
            rows.append(_build_row(record, header, indices, report))
        else:
            missing.append((record.file, f"{record.source.name}: {header}"))
        if progress:
            progress("reading boxes", done + 1, len(read.images))
    if missing and (not skip_broken or not rows):
        raise DataError(
            f"{len(missing)} of {len(read.images)} images can not be read",
            received=name_some([reason for _, reason in missing], separator="; "),
            remedy="add or repair them, or leave them out with --skip-broken",
        )
    files, boxes, classes, ignored, crowd, areas = zip(*rows, strict=True)
    return BoxDataset(
        files=files,
        boxes=boxes,
        classes=classes,
        ignored=ignored,
        crowd=crowd,
        areas=areas,
        labels=labels,
        skipped=(*read.skipped, *missing),
        notes=report.to_notes(),
    )


class _Row(NamedTuple):
    file: Path
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float32]


def _build_row(
    record: ImageBoxes, header: ImageHeader, indices: dict[str, int], report: BoxReport
) -> _Row:
    checked = check_boxes(record, header, report)
    known = np.array([record.names[i] in indices for i in checked.kept], bool)
    kept, boxes = checked.kept[known], checked.boxes[known]
    classes = np.array([indices[record.names[i]] for i in kept], np.int64)
    box_areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    noted = record.areas[kept]
    areas = np.where(np.isfinite(noted), noted, box_areas).astype(np.float32)
    return _Row(record.file, boxes, classes, record.ignored[kept], record.crowd[kept], areas)


def _drop_broken(dataset: BoxDataset, progress: Progress | None) -> BoxDataset:
    kept, broken = find_sound(dataset.files, progress)
    return replace(dataset.select(kept), skipped=dataset.skipped + broken)
