"""Two detectors on the same photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgevision.converters.agreement import THRESHOLD, BoxAgreement
from edgevision.converters.verify_results import (
    NUM_WORST,
    DetectorVerification,
    ImageAgreement,
    describe_failure,
)
from edgevision.converters.verify_sides import Side, compare_contracts, iterate_images
from edgevision.data.boxes import BoxDataset
from edgevision.metrics.detection import FoundBoxes, TrueBoxes, measure_coco, measure_voc
from edgevision.runtime.detect import Detector
from edgevision.runtime.evaluate_detect import list_truth
from edgevision.specs import Progress

Pairs = Sequence[tuple[FoundBoxes, FoundBoxes]]


def compare_detectors(
    sides: tuple[Side, Side],
    models: tuple[Detector, Detector],
    files: Sequence[Path],
    *,
    truth: BoxDataset | None,
    min_agreement: float | None,
    skip_broken: bool,
    progress: Progress | None,
) -> DetectorVerification:
    """Compare the boxes, image by image, and the average precision of both.

    Each model answers by the limits of its own contract, as on the device.

    Args:
        sides: The reference and the candidate.
        models: What answers for them.
        files: Images.
        truth: The same images with their boxes, where there are any.
        min_agreement: Smallest F1 of the boxes.
        skip_broken: Leave out images that can not be decoded.
        progress: Called for every image.

    Raises:
        DataError: An image is broken, or all of them are.
        BackendUnavailableError: The images have boxes, and pycocotools is not installed.
    """
    skipped, used, pairs = list[str](), list[int](), list[tuple[FoundBoxes, FoundBoxes]]()
    agreement, rows = BoxAgreement(), list[ImageAgreement]()
    for index, image in iterate_images(files, skipped, skip_broken=skip_broken, progress=progress):
        answers = (model.predict(image, threshold=0.0) for model in models)
        first, second = (
            FoundBoxes(boxes=a.boxes, classes=a.classes, scores=a.scores) for a in answers
        )
        used.append(index)
        pairs.append((first, second))
        rows.append(ImageAgreement(file=files[index], agreement=agreement.add(first, second)))
    known = truth.select(used) if truth is not None else None
    reference, candidate = _measure(pairs, known, max(m.num_classes for m in models))
    return DetectorVerification(
        map_delta=candidate - reference,
        metric="map50" if known is None else "map",
        reference_map=reference,
        candidate_map=candidate,
        box_agreement=agreement.f1,
        annotated=known is not None,
        samples=len(used),
        min_agreement=min_agreement,
        worst=tuple(sorted(rows, key=lambda row: row.agreement)[:NUM_WORST]),
        warnings=(*compare_contracts(*sides), *_warn_of_silence(agreement), *skipped),
        failure=_find_failure(pairs, agreement.f1, min_agreement),
    )


def _measure(pairs: Pairs, truth: BoxDataset | None, num_classes: int) -> tuple[float, float]:
    """Return the average precision of both; without truth, of the candidate against the other."""
    count = max(num_classes, 1 + max(_list_classes(pairs), default=0))
    if truth is not None:
        known = list_truth(truth)
        first, second = (
            measure_coco(known, [pair[side] for pair in pairs], count).map for side in (0, 1)
        )
        return first, second
    own = [_take_for_truth(first) for first, _ in pairs]
    if not any(len(boxes.classes) for boxes in own):
        # Nothing to find: right where the candidate finds nothing either.
        return 1.0, float(not any((second.scores >= THRESHOLD).any() for _, second in pairs))
    return 1.0, measure_voc(own, [second for _, second in pairs], count).map


def _list_classes(pairs: Pairs) -> list[int]:
    sides = (boxes for pair in pairs for boxes in pair)
    return [int(boxes.classes.max()) for boxes in sides if len(boxes.classes)]


def _take_for_truth(found: FoundBoxes) -> TrueBoxes:
    """Take the boxes that a person would see for the objects of an image."""
    seen = found.scores >= THRESHOLD
    boxes = found.boxes[seen]
    none = np.zeros(len(boxes), np.bool_)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return TrueBoxes(
        boxes=boxes, classes=found.classes[seen], ignored=none, crowd=none, areas=areas
    )


def _warn_of_silence(agreement: BoxAgreement) -> list[str]:
    if agreement.any:
        return []
    return [f"neither model finds a box that scores {THRESHOLD:g}: their agreement says nothing"]


def _find_failure(pairs: Pairs, agreement: float, min_agreement: float | None) -> str:
    finite = (np.isfinite(v).all() for pair in pairs for b in pair for v in (b.boxes, b.scores))
    if not all(finite):
        return "some boxes or scores are not numbers"
    return describe_failure(agreement, min_agreement, "boxes")
