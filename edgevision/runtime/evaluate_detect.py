"""Average precision of a detector on images with boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.backends import import_backend
from edgevision.errors import DataError
from edgevision.metrics.detection import CocoResult, FoundBoxes, TrueBoxes, measure_coco
from edgevision.runtime.detect import Detector
from edgevision.specs import Progress

if TYPE_CHECKING:
    from edgevision.data.boxes import BoxDataset

_STAGE = "evaluating"
# COCO counts 100 detections per image, and wants the uncertain ones too: precision is averaged over
# all recalls, whatever threshold a person would choose for looking at the boxes.
_SCORE_THRESHOLD = 0.01
_MAX_DETECTIONS = 100
_FIGURES = ("map", "map50", "map75", "map_small", "map_medium", "map_large")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPrecision:
    """How well the objects of one class are found.

    Attributes:
        label: Name of the class.
        objects: Objects of this class, without those that do not count.
        ap: Average precision over the overlaps 0.5 to 0.95, 0 to 1.
        ap50: At an overlap of 0.5.
    """

    label: str
    objects: int
    ap: float
    ap50: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "label": self.label,
            "objects": self.objects,
            "ap": self.ap,
            "ap50": self.ap50,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionEvaluation:
    """Accuracy of one detector file on one data set, as COCO defines it.

    Attributes:
        map: Mean of the classes and of the overlaps 0.5, 0.55 … 0.95, 0 to 1.
        map50: At an overlap of 0.5.
        map75: At an overlap of 0.75.
        map_small: Of objects below 32x32 pixels; NaN where there are none.
        map_medium: Of objects up to 96x96 pixels.
        map_large: Of larger ones.
        samples: Images that were evaluated.
        per_class: Every class that has objects, in the order of the model.
        notes: How labels and classes were matched, and what was assumed.
        skipped: Broken files that were left out, each with the reason.
    """

    map: float
    map50: float
    map75: float
    map_small: float
    map_medium: float
    map_large: float
    samples: int
    per_class: tuple[ClassPrecision, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``None`` where there is nothing to find."""
        return {
            **{name: _to_json(getattr(self, name)) for name in _FIGURES},
            "samples": self.samples,
            "per_class": [row.to_dict() for row in self.per_class],
            "notes": list(self.notes),
            "skipped": [{"file": str(file), "reason": reason} for file, reason in self.skipped],
        }


def evaluate_detector(
    detector: Detector, dataset: BoxDataset, *, progress: Progress | None = None
) -> DetectionEvaluation:
    """Measure how well a detector finds the objects of a data set.

    Images are decoded ahead in threads. Of raw heads up to 100 boxes per image count, from a score
    of 0.01 on; files with their own non-maximum suppression give what they give.

    Args:
        detector: The model.
        dataset: Images with boxes; its labels are the model's (``read_boxes(labels=...)``), or any
            where the model has no names: then the order decides, and ``notes`` says so.
        progress: Called after every image.

    Raises:
        DataError: Labels do not fit the model, an image is broken, or there is none, or no object.
        BackendUnavailableError: pycocotools is not installed.
    """
    if not len(dataset):
        raise DataError("there are no images to evaluate on", remedy="check the folder")
    if not sum(dataset.counts):
        raise DataError(
            "average precision needs objects to find",
            received=f"{len(dataset)} images without a box of the model's classes",
            remedy="name annotated images, or another --part",
        )
    notes = check_classes(dataset.labels, detector.labels, named=bool(detector.contract.labels))
    import_backend("pycocotools.cocoeval")  # what is missing is told before the work
    found = collect_boxes(detector, dataset.files, progress=progress)
    result = measure_coco(list_truth(dataset), found, len(dataset.labels))
    return DetectionEvaluation(
        **{name: getattr(result, name) for name in _FIGURES},
        samples=len(dataset),
        per_class=_list_classes(dataset, result),
        notes=(*dataset.notes, *notes),
        skipped=dataset.skipped,
    )


def collect_boxes(
    detector: Detector, files: Sequence[Path], *, progress: Progress | None = None
) -> list[FoundBoxes]:
    """Run a detector on many files, with the limits that average precision needs.

    Raises:
        DataError: An image is broken; it is named.
    """
    relaxed = detector.relax(score_threshold=_SCORE_THRESHOLD, max_detections=_MAX_DETECTIONS)
    found = []
    for answer in relaxed.iterate(files, threshold=0.0):
        found.append(FoundBoxes(boxes=answer.boxes, classes=answer.classes, scores=answer.scores))
        if progress:
            progress(_STAGE, len(found), len(files))
    return found


def list_truth(dataset: BoxDataset) -> list[TrueBoxes]:
    """Return the objects of each image as the metrics take them."""
    columns = (dataset.boxes, dataset.classes, dataset.ignored, dataset.crowd, dataset.areas)
    return [
        TrueBoxes(boxes=boxes, classes=classes, ignored=ignored, crowd=crowd, areas=areas)
        for boxes, classes, ignored, crowd, areas in zip(*columns, strict=True)
    ]


def check_classes(
    names: tuple[str, ...], model_labels: tuple[str, ...], *, named: bool
) -> tuple[str, ...]:
    """Hold that a data set's classes are those of the model.

    Args:
        names: Of the data set.
        model_labels: Of the model, with or without real names.
        named: Whether the model carries names.

    Returns:
        Notes about how they were matched.

    Raises:
        DataError: Other classes, or another number of them.
    """
    if names == model_labels:
        return ()
    if named:
        raise DataError(
            "the data is read with the model's labels",
            received=f"{len(names)} classes in the data, {len(model_labels)} in the model",
            remedy="give read_boxes or read_masks the labels of the model",
        )
    if model_labels and len(names) != len(model_labels):
        raise DataError(
            "without names in the model, the data needs as many classes as the model",
            received=f"{len(names)} classes in the data, {len(model_labels)} in the model",
            remedy="give the model's class names with --labels",
        )
    return ("classes are matched by their order, because the model has no names",)


def _list_classes(dataset: BoxDataset, result: CocoResult) -> tuple[ClassPrecision, ...]:
    figures = zip(result.per_class.tolist(), result.per_class50.tolist(), strict=True)
    rows = zip(dataset.labels, dataset.counts, figures, strict=True)
    return tuple(
        ClassPrecision(label=label, objects=count, ap=ap, ap50=ap50)
        for label, count, (ap, ap50) in rows
        if count
    )


def _to_json(value: float) -> float | None:
    return None if isnan(value) else value
