"""Figures for segmenters, all from one table of counted pixels; plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgevision.errors import DataError, InvalidConfigError


class SegmentationCounts:
    """Pixels counted by true and predicted class, image after image.

    Figures are those of all pixels together, as Pascal VOC and Cityscapes define them: not a mean
    over images.

    Args:
        num_classes: C, background included.

    Attributes:
        matrix: (C, C) int64; row: true class, column: predicted class.

    Raises:
        InvalidConfigError: There is no class.

    >>> counts = SegmentationCounts(2)
    >>> counts.add([[0, 1], [1, 1]], [[0, 0], [1, 255]])
    >>> counts.matrix.tolist(), round(counts.pixel_accuracy, 3), counts.per_class_iou.tolist()
    ([[1, 1], [0, 1]], 0.667, [0.5, 0.5])
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise InvalidConfigError(
                "num_classes must be 1 or more", received=f"num_classes={num_classes}"
            )
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.matrix)

    def add(self, predicted: ArrayLike, truth: ArrayLike, ignore_index: int = 255) -> None:
        """Count the pixels of one image, or of several of the same shape.

        Args:
            predicted: Class indices of any shape.
            truth: Class indices of the same shape.
            ignore_index: Value of ``truth`` where pixels are not counted.

        Raises:
            DataError: The shapes differ, or a value is no class.
        """
        answers, classes = np.asarray(predicted), np.asarray(truth)
        if answers.shape != classes.shape:
            raise DataError(
                "a predicted mask has the shape of the true one",
                received=f"{answers.shape} and {classes.shape}",
            )
        counted = classes != ignore_index
        answers, classes = answers[counted].astype(np.int64), classes[counted].astype(np.int64)
        for name, values in (("predicted", answers), ("true", classes)):
            if values.size and not 0 <= values.min() <= values.max() < self.num_classes:
                raise DataError(
                    f"{name} values are class indices below {self.num_classes}",
                    received=f"{values.min()} to {values.max()}",
                )
        places = classes * self.num_classes + answers
        counts = np.bincount(places, minlength=self.num_classes**2)
        self.matrix += counts.reshape(self.matrix.shape)

    @property
    def num_pixels(self) -> int:
        """Pixels that were counted."""
        return int(self.matrix.sum())

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels whose class is right; NaN without pixels."""
        return float(np.trace(self.matrix) / self.num_pixels) if self.num_pixels else float("nan")

    @property
    def per_class_iou(self) -> NDArray[np.float64]:
        """Of each class, ``TP / (TP + FP + FN)``: (C,); NaN where it is neither true nor found."""
        hits, true, found = self._count_classes()
        return _divide(hits, true + found - hits)

    @property
    def mean_iou(self) -> float:
        """Mean of ``per_class_iou`` over the classes that occur; NaN without pixels."""
        return _average(self.per_class_iou)

    @property
    def per_class_dice(self) -> NDArray[np.float64]:
        """Of each class, ``2 TP / (2 TP + FP + FN)``: (C,); NaN where it is neither."""
        hits, true, found = self._count_classes()
        return _divide(2 * hits, true + found)

    @property
    def mean_dice(self) -> float:
        """Mean of ``per_class_dice`` over the classes that occur; NaN without pixels."""
        return _average(self.per_class_dice)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready figures; ``None`` where there is nothing to measure."""
        return {
            "pixel_accuracy": _to_json(self.pixel_accuracy),
            "mean_iou": _to_json(self.mean_iou),
            "mean_dice": _to_json(self.mean_dice),
            "per_class_iou": [_to_json(v) for v in self.per_class_iou],
            "per_class_dice": [_to_json(v) for v in self.per_class_dice],
        }

    def _count_classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        return np.diag(self.matrix), self.matrix.sum(axis=1), self.matrix.sum(axis=0)


def _divide(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    shares = np.full(len(part), np.nan)
    np.divide(part, whole, out=shares, where=whole > 0)
    return shares


def _average(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _to_json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
