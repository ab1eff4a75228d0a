"""Two segmenters on the same photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.converters.verify_results import (
    NUM_WORST,
    ImageAgreement,
    SegmenterVerification,
    describe_failure,
)
from edgevision.converters.verify_sides import Side, compare_contracts, iterate_images
from edgevision.data.mask_annotations import IGNORED
from edgevision.data.masks import MaskDataset
from edgevision.errors import DataError
from edgevision.metrics.segmentation import SegmentationCounts
from edgevision.runtime.results import Segmentation
from edgevision.runtime.segment import Segmenter
from edgevision.specs import Progress

# Where nobody says how many classes a map of class numbers has.
_MOST_CLASSES = 255


def compare_segmenters(
    sides: tuple[Side, Side],
    models: tuple[Segmenter, Segmenter],
    files: Sequence[Path],
    *,
    truth: MaskDataset | None,
    min_agreement: float | None,
    skip_broken: bool,
    progress: Progress | None,
) -> SegmenterVerification:
    """Compare the masks, image by image, and the mean IoU of both.

    Args:
        sides: The reference and the candidate.
        models: What answers for them.
        files: Images.
        truth: The same images with their masks, where there are any.
        min_agreement: Smallest share of equal pixels.
        skip_broken: Leave out images that can not be decoded.
        progress: Called for every image.

    Raises:
        DataError: An image is broken, all of them are, or a mask has another size than its image.
    """
    counts = _Counts(max(model.num_classes for model in models) or _MOST_CLASSES)
    skipped, rows = list[str](), list[ImageAgreement]()
    for index, image in iterate_images(files, skipped, skip_broken=skip_broken, progress=progress):
        first, second = (model.predict(image) for model in models)
        mask = truth.load_mask(index) if truth is not None else None
        rows.append(ImageAgreement(file=files[index], agreement=counts.add(first, second, mask)))
    reference = counts.reference.mean_iou if truth is not None else 1.0
    candidate = counts.candidate.mean_iou
    return SegmenterVerification(
        miou_delta=candidate - reference,
        reference_miou=reference,
        candidate_miou=candidate,
        pixel_agreement=counts.agreement,
        annotated=truth is not None,
        samples=len(rows),
        min_agreement=min_agreement,
        worst=tuple(sorted(rows, key=lambda row: row.agreement)[:NUM_WORST]),
        warnings=(*compare_contracts(*sides), *skipped),
        failure=describe_failure(counts.agreement, min_agreement, "pixels"),
    )


class _Counts:
    """Pixels of all images: equal ones, and those of each model against the truth."""

    def __init__(self, num_classes: int) -> None:
        self.reference = SegmentationCounts(num_classes)
        self.candidate = SegmentationCounts(num_classes)
        self._equal = 0
        self._total = 0

    @property
    def agreement(self) -> float:
        """Share of equal pixels of all images."""
        return self._equal / max(self._total, 1)

    def add(
        self, first: Segmentation, second: Segmentation, truth: NDArray[np.uint8] | None
    ) -> float:
        """Count one image; return its share of equal pixels."""
        seen = (first.mask != first.unseen) & (second.mask != second.unseen)
        equal, total = int(((first.mask == second.mask) & seen).sum()), int(seen.sum())
        self._equal += equal
        self._total += total
        if truth is None:
            _count(self.candidate, second, first.mask, seen)
        else:
            for counts, answer in ((self.reference, first), (self.candidate, second)):
                _count(counts, answer, truth, seen)
        return equal / max(total, 1)


def _count(
    counts: SegmentationCounts, answer: Segmentation, truth: NDArray[Any], seen: NDArray[np.bool_]
) -> None:
    if truth.shape != answer.mask.shape:
        raise DataError(
            "a mask has the size of its image",
            received=f"mask {truth.shape}, image {answer.mask.shape}",
            remedy="resize the mask without interpolation",
        )
    counts.add(answer.mask, np.where(seen, truth, IGNORED), ignore_index=IGNORED)
