"""Accuracy of a segmenter on images with masks."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.data.ahead import map_ahead
from edgevision.data.mask_annotations import IGNORED
from edgevision.errors import DataError
from edgevision.metrics.segmentation import SegmentationCounts
from edgevision.runtime.evaluate_detect import check_classes
from edgevision.runtime.results import Segmentation
from edgevision.runtime.segment import Segmenter
from edgevision.specs import Progress

if TYPE_CHECKING:
    from edgevision.data.masks import MaskDataset

_STAGE = "evaluating"
_FIGURES = ("pixel_accuracy", "mean_iou", "mean_dice")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOverlap:
    """How well the pixels of one class are told.

    Attributes:
        label: Name of the class.
        iou: Intersection over union of the true and the predicted pixels, 0 to 1.
        dice: Twice their intersection over the sum of both, 0 to 1.
    """

    label: str
    iou: float
    dice: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"label": self.label, "iou": self.iou, "dice": self.dice}


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentationEvaluation:
    """Accuracy of one segmenter file on one data set, at the size of the original images.

    Attributes:
        pixel_accuracy: Share of the pixels whose class is right, 0 to 1.
        mean_iou: Mean intersection over union of the classes that occur.
        mean_dice: Their mean Dice coefficient.
        samples: Images that were evaluated.
        per_class: Every class that occurs in the masks or the answers, in the order of the model.
        notes: How labels and classes were matched, and what was assumed.
        skipped: Broken files that were left out, each with the reason.
    """

    pixel_accuracy: float
    mean_iou: float
    mean_dice: float
    samples: int
    per_class: tuple[ClassOverlap, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``None`` where no pixel counts."""
        return {
            **{name: _to_json(getattr(self, name)) for name in _FIGURES},
            "samples": self.samples,
            "per_class": [row.to_dict() for row in self.per_class],
            "notes": list(self.notes),
            "skipped": [{"file": str(file), "reason": reason} for file, reason in self.skipped],
        }


def evaluate_segmenter(
    segmenter: Segmenter, dataset: MaskDataset, *, progress: Progress | None = None
) -> SegmentationEvaluation:
    """Measure how often a segmenter tells the class of a pixel.

    Masks are compared at the size of the original images. Pixels that the data set ignores, and
    those that preprocessing cropped away, do not count.

    Args:
        segmenter: The model.
        dataset: Images with masks; its labels are the model's (``read_masks(labels=...)``), or any
            where the model has no names: then the order decides, and ``notes`` says so.
        progress: Called after every image.

    Raises:
        DataError: Labels or sizes do not fit, an image is broken, or there is none, or no pixel
            counts.
    """
    if not len(dataset):
        raise DataError("there are no images to evaluate on", remedy="check the folder")
    named = bool(segmenter.contract.labels)
    notes = check_classes(dataset.labels, segmenter.labels, named=named)
    counts = SegmentationCounts(len(dataset.labels))
    answers = segmenter.iterate(dataset.files)
    truths = map_ahead(dataset.load_mask, range(len(dataset)), threads=1)
    unseen = 0
    for done, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        hidden = _check_size(answer, truth, dataset.files[done]) & (truth != IGNORED)
        unseen += int(hidden.sum())
        counts.add(answer.mask, np.where(hidden, np.uint8(IGNORED), truth), ignore_index=IGNORED)
        if progress:
            progress(_STAGE, done + 1, len(dataset))
    if not counts.num_pixels:
        raise DataError(
            "overlap needs pixels that count",
            received=f"{len(dataset)} masks whose pixels are all ignored, or out of sight",
            remedy="name masks with classes, or another --part",
        )
    if unseen:
        notes = (*notes, f"{unseen} pixels outside of the model's crop do not count")
    return _summarize(counts, dataset, notes)


def _check_size(answer: Segmentation, truth: NDArray[np.uint8], file: Path) -> NDArray[np.bool_]:
    """Return the pixels that the model did not see."""
    if answer.mask.shape != truth.shape:
        raise DataError(
            "a mask has the size of its image",
            received=f"{file.name} is {answer.mask.shape}, its mask {truth.shape}",
            remedy="resize the mask without interpolation",
        )
    hidden: NDArray[np.bool_] = answer.mask == answer.unseen
    return hidden


def _summarize(
    counts: SegmentationCounts, dataset: MaskDataset, notes: tuple[str, ...]
) -> SegmentationEvaluation:
    rows = zip(
        dataset.labels, counts.per_class_iou.tolist(), counts.per_class_dice.tolist(), strict=True
    )
    return SegmentationEvaluation(
        **{name: getattr(counts, name) for name in _FIGURES},
        samples=len(dataset),
        per_class=tuple(
            ClassOverlap(label=label, iou=iou, dice=dice)
            for label, iou, dice in rows
            if not isnan(iou)  # classes that occur nowhere have none
        ),
        notes=(*dataset.notes, *notes),
        skipped=dataset.skipped,
    )


def _to_json(value: float) -> float | None:
    return None if isnan(value) else value
