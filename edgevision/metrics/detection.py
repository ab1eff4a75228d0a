"""Average precision of detectors, as Pascal VOC and COCO define it; boxes are plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgevision.backends import import_backend
from edgevision.errors import DataError, InvalidConfigError

# Outside of every range of areas: counted neither as hit nor as miss.
_NO_AREA = -1.0
_MOST_FOUND = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrueBoxes:
    """The objects of one image.

    Attributes:
        boxes: (N, 4), ymin xmin ymax xmax, pixels.
        classes: (N,) class indices.
        ignored: (N,) bool: neither a hit nor a miss when found, and no miss when not.
        crowd: (N,) bool: ignored regions of many objects, which any number of boxes may lie in.
        areas: (N,), pixels; COCO tells small, medium and large objects apart by them.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundBoxes:
    """What a detector found in one image.

    Attributes:
        boxes: (N, 4), ymin xmin ymax xmax, pixels.
        classes: (N,) class indices.
        scores: (N,), higher is surer.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VocResult:
    """Average precision at one overlap.

    Attributes:
        map: Mean of the classes that have objects; NaN where none has.
        per_class: (C,) float64 average precision; NaN for a class without objects.
    """

    map: float
    per_class: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``None`` where there are no objects."""
        return {"map": _to_json(self.map), "per_class": _to_json(self.per_class.tolist())}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CocoResult:
    """Average precision over classes and overlaps; NaN where there is nothing to find.

    Attributes:
        map: Mean over the overlaps 0.5, 0.55 … 0.95 and the classes that have objects.
        map50: Mean over the classes at overlap 0.5.
        map75: At overlap 0.75.
        map_small: As ``map``, of objects below 32² pixels.
        map_medium: Of objects from 32² to 96² pixels.
        map_large: Of objects above 96² pixels.
        per_class: (C,) float64, mean over the overlaps; NaN for a class without objects.
        per_class50: (C,) float64, at overlap 0.5.
    """

    map: float
    map50: float
    map75: float
    map_small: float
    map_medium: float
    map_large: float
    per_class: NDArray[np.float64]
    per_class50: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``None`` where there is nothing to find."""
        values = {name: np.asarray(value).tolist() for name, value in asdict(self).items()}
        return {name: _to_json(value) for name, value in values.items()}


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Overlap of every box with every other: area of the intersection over that of the union.

    Coordinates are edges: a box from 0 to 2 is two pixels wide. (The VOC development kit counts
    both pixels at the ends, which makes the overlap of small boxes a little larger.)

    Args:
        a: (N, 4), ymin xmin ymax xmax.
        b: (M, 4), likewise.

    Returns:
        (N, M) float64 in [0, 1]; 0 where both boxes have no area.

    >>> box_iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
    [[1.0, 0.333, 0.0]]
    """
    first, second = _as_boxes(a), _as_boxes(b)
    shared = _intersect(first, second)
    union = _measure(first)[:, None] + _measure(second) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def measure_voc(
    truth: Sequence[TrueBoxes],
    found: Sequence[FoundBoxes],
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    eleven_point: bool = False,
) -> VocResult:
    """Average precision as Pascal VOC defines it (Everingham et al. 2010, section 4.2).

    The boxes found of a class are ranked by score over all images. Each is compared with the true
    box of its class that it overlaps most: from ``iou_threshold`` on it is a hit if that box was
    not found before, otherwise a miss; if that box is ignored, the found one does not count. One
    that lies in a crowd by that share of its own area, and overlaps nothing better, does not count
    either. After each rank, precision is hits / (hits + misses), recall hits / true boxes. The
    average is the area below the precision at that recall or any higher one (since VOC 2010), or
    its mean at the recalls 0, 0.1 … 1 (before).

    Args:
        truth: Objects of each image.
        found: Boxes found in each image, in the same order.
        num_classes: C.
        iou_threshold: In (0, 1].
        eleven_point: Take the mean at eleven recalls instead of the area.

    Raises:
        InvalidConfigError: The threshold is out of range.
        DataError: Not as many images, or a class that there is not.
    """
    if not 0 < iou_threshold <= 1:
        raise InvalidConfigError(
            "iou_threshold must be in (0, 1]", received=f"iou_threshold={iou_threshold}"
        )
    _check_pairs(truth, found, num_classes)
    classes, hits, counted = _rank_boxes(truth, found, iou_threshold)
    totals = _count_true(truth, num_classes)
    average = _average_at_eleven if eleven_point else _average_everywhere
    per_class = np.full(num_classes, np.nan)
    for label in np.flatnonzero(totals):
        per_class[label] = average(hits[(classes == label) & counted], int(totals[label]))
    return VocResult(map=_mean_of_known(per_class), per_class=per_class)


def measure_coco(
    truth: Sequence[TrueBoxes], found: Sequence[FoundBoxes], num_classes: int
) -> CocoResult:
    """Average precision as COCO defines it (cocodataset.org, "Detection Evaluation").

    The 100 surest boxes of a class in each image count. From the surest on, each takes the free
    true box of its class that it overlaps most, if by the threshold at least. Precision, made to
    fall with recall, is averaged over the recalls 0, 0.01 … 1; then over classes and overlaps.
    Boxes that take an ignored object, or lie in a crowd, do not count; so do ignored objects that
    nobody finds.

    Args:
        truth: Objects of each image; ``areas`` tell small from large.
        found: Boxes found in each image, in the same order.
        num_classes: C.

    Raises:
        BackendUnavailableError: pycocotools is not installed.
        DataError: Not as many images, or a class that there is not.
    """
    _check_pairs(truth, found, num_classes)
    cocoeval = import_backend("pycocotools.cocoeval")
    present = sorted({int(label) for boxes in truth for label in boxes.classes[~boxes.ignored]})
    precision = np.full((10, 101, num_classes, 4), np.nan)
    if present:
        with redirect_stdout(StringIO()):
            evaluation = cocoeval.COCOeval(
                _index_truth(truth, num_classes), _index_found(found, num_classes), "bbox"
            )
            evaluation.params.catIds = present
            evaluation.params.maxDets = [_MOST_FOUND]
            evaluation.evaluate()
            evaluation.accumulate()
        measured = evaluation.eval["precision"][:, :, :, :, 0]
        precision[:, :, present] = np.where(measured < 0, np.nan, measured)
    return _summarize(precision)


def _check_pairs(truth: Sequence[TrueBoxes], found: Sequence[FoundBoxes], num_classes: int) -> None:
    """Check that there are as many images on both sides, with known classes only.

    Raises:
        DataError: They do not fit.
    """
    if len(truth) != len(found):
        raise DataError(
            "every image has its true and its found boxes",
            received=f"{len(truth)} and {len(found)} images",
        )
    for classes in (*(b.classes for b in truth), *(b.classes for b in found)):
        if len(classes) and not 0 <= classes.min() <= classes.max() < num_classes:
            raise DataError(
                "classes of boxes are indices of the labels",
                received=f"{classes.min()} to {classes.max()}, {num_classes} classes",
            )


def _mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN where all are.

    >>> _mean_of_known(np.array([0.5, np.nan, 1.0]))
    0.75
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return None if np.isnan(value) else value


def _as_boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(boxes, np.float64).reshape(-1, 4)


def _measure(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _intersect(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that each of (N, 4) boxes shares with each of (M, 4)."""
    height = np.minimum(a[:, None, 2], b[:, 2]) - np.maximum(a[:, None, 0], b[:, 0])
    width = np.minimum(a[:, None, 3], b[:, 3]) - np.maximum(a[:, None, 1], b[:, 1])
    return np.asarray(np.maximum(height, 0) * np.maximum(width, 0))


def _count_true(truth: Sequence[TrueBoxes], num_classes: int) -> NDArray[np.int64]:
    counted = [boxes.classes[~boxes.ignored] for boxes in truth]
    joined = np.concatenate([np.zeros(0, np.int64), *counted])
    return np.bincount(joined, minlength=num_classes).astype(np.int64)


def _rank_boxes(
    truth: Sequence[TrueBoxes], found: Sequence[FoundBoxes], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return class, hit and "does count" of all found boxes, the surest first."""
    matched, ignored, offset = [np.zeros(0, np.int64)], [np.zeros(0, bool)], 0
    for true, boxes in zip(truth, found, strict=True):
        best, spared = _match_image(true, boxes, threshold)
        matched.append(np.where(best < 0, -1, best + offset))
        ignored.append(spared)
        offset += len(true.classes)
    scores = np.concatenate([np.zeros(0), *(boxes.scores for boxes in found)])
    classes = np.concatenate([np.zeros(0, np.int64), *(boxes.classes for boxes in found)])
    order = np.argsort(-scores, kind="stable")
    target = np.concatenate(matched)[order]
    counted = ~np.concatenate(ignored)[order]
    hits = np.zeros(len(order), bool)
    # Only the first box that finds an object is a hit.
    hits[np.unique(target, return_index=True)[1]] = True
    hits &= target >= 0
    return classes[order], hits, counted


def _match_image(
    true: TrueBoxes, found: FoundBoxes, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the true box that each found one overlaps enough (-1: none), and whether it is spared.

    A crowd is no such box: boxes that lie in it are spared where they find nothing else.
    """
    count = len(found.classes)
    if not len(true.classes):
        return np.full(count, -1, np.int64), np.zeros(count, bool)
    same = found.classes[:, None] == true.classes
    overlap = np.where(same & ~true.crowd, box_iou(found.boxes, true.boxes), -1)
    best = overlap.argmax(axis=1).astype(np.int64)
    enough = overlap[np.arange(count), best] >= threshold
    spared = enough & true.ignored[best]
    if true.crowd.any():
        spared |= ~enough & _lies_in_crowd(true, found, threshold)
    return np.where(enough, best, -1), spared


def _lies_in_crowd(true: TrueBoxes, found: FoundBoxes, threshold: float) -> NDArray[np.bool_]:
    boxes, regions = _as_boxes(found.boxes), _as_boxes(true.boxes[true.crowd])
    same = found.classes[:, None] == true.classes[true.crowd]
    shared = np.where(same, _intersect(boxes, regions), 0)
    area = _measure(boxes)[:, None]
    return np.asarray(((shared >= threshold * area) & (area > 0) & same).any(axis=1))


def _average_everywhere(hits: NDArray[np.bool_], total: int) -> float:
    """Area below the precision that is reached at a recall or any higher one."""
    reached = hits.cumsum()
    precision = reached / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # The recall grows by 1 / total at every hit.
    return float(best[hits].sum() / total)


def _average_at_eleven(hits: NDArray[np.bool_], total: int) -> float:
    """Mean of that precision at the recalls 0, 0.1 … 1."""
    reached = hits.cumsum()
    precision = reached / np.arange(1, len(hits) + 1)
    # Whole numbers: 0.3 is no exact fraction in floating point.
    levels = [precision[10 * reached >= level * total] for level in range(11)]
    return sum(float(level.max()) for level in levels if len(level)) / 11


def _summarize(precision: NDArray[np.float64]) -> CocoResult:
    """Average (overlap, recall, class, area) precisions, NaN where there are no objects."""
    every = precision[:, :, :, 0]
    small, medium, large = (_mean_of_known(precision[..., index]) for index in (1, 2, 3))
    return CocoResult(
        map=_mean_of_known(every),
        map50=_mean_of_known(every[0]),
        map75=_mean_of_known(every[5]),
        map_small=small,
        map_medium=medium,
        map_large=large,
        per_class=np.array([_mean_of_known(row) for row in every.transpose(2, 0, 1)]),
        per_class50=np.array([_mean_of_known(row) for row in every[0].T]),
    )


def _index_truth(truth: Sequence[TrueBoxes], num_classes: int) -> Any:
    records = []
    for image, boxes in enumerate(truth):
        crowd = boxes.crowd.tolist()
        areas = np.where(boxes.ignored & ~boxes.crowd, _NO_AREA, boxes.areas).tolist()
        rows = _list_rows(boxes, image)
        for row, is_crowd, area in zip(rows, crowd, areas, strict=True):
            records.append({**row, "iscrowd": int(is_crowd), "area": area})
    return _build_index(records, len(truth), num_classes)


def _index_found(found: Sequence[FoundBoxes], num_classes: int) -> Any:
    records = []
    for image, boxes in enumerate(found):
        rows = _list_rows(boxes, image)
        for row, score in zip(rows, boxes.scores.tolist(), strict=True):
            width, height = row["bbox"][2:]
            records.append({**row, "iscrowd": 0, "area": width * height, "score": score})
    return _build_index(records, len(found), num_classes)


def _list_rows(boxes: TrueBoxes | FoundBoxes, image: int) -> list[dict[str, Any]]:
    top, left, bottom, right = np.asarray(boxes.boxes, np.float64).reshape(-1, 4).T
    sides = np.stack([left, top, right - left, bottom - top], axis=1).tolist()
    classes = boxes.classes.tolist()
    return [
        {"image_id": image, "category_id": label, "bbox": box}
        for box, label in zip(sides, classes, strict=True)
    ]


def _build_index(records: list[dict[str, Any]], num_images: int, num_classes: int) -> Any:
    index = import_backend("pycocotools.coco").COCO()
    index.dataset = {
        "images": [{"id": number} for number in range(num_images)],
        "categories": [{"id": number} for number in range(num_classes)],
        # An identifier of 0 would read as "not matched".
        "annotations": [{**row, "id": number} for number, row in enumerate(records, 1)],
    }
    index.createIndex()
    return index
