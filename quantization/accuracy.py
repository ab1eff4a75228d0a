"""The figure of the task, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

METRIC_NAMES = {"top1": "top-1", "map": "mAP", "mean_iou": "mean IoU"}
"""What people call the figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The figure of the task, of the float and of the quantized file, on labelled images.

    Attributes:
        metric: ``top1`` of a classifier, ``map`` of a detector, ``mean_iou`` of a segmenter.
        float_value: 0 to 1.
        quantized_value: 0 to 1.
        samples: Number of images.
        notes: Which images were measured, and how their classes were matched to the model's, where
            that was open.
    """

    metric: str = "top1"
    float_value: float
    quantized_value: float
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        """Percentage points that were lost; below 0 where the quantized file is better."""
        return 100 * (self.float_value - self.quantized_value)

    def describe(self) -> str:
        """Write both figures for people.

        >>> Accuracy(float_value=0.75, quantized_value=0.7, samples=20).describe()
        'top-1 float 75.00 %, quantized 70.00 %, drop 5.00 points, 20 images'
        """
        return (
            f"{METRIC_NAMES[self.metric]} float {100 * self.float_value:.2f} %, quantized "
            f"{100 * self.quantized_value:.2f} %, drop {self.drop:.2f} points, "
            f"{self.samples} images"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "metric": self.metric,
            "float": self.float_value,
            "quantized": self.quantized_value,
            "drop": self.drop,
            "samples": self.samples,
            "notes": list(self.notes),
        }
