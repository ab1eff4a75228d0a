"""What ``quantize`` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevision.quantization.advisor import CalibrationReport
from edgevision.quantization.diagnose import LayerReport, OutputReport
from edgevision.quantization.diagnosis.diagnosis import Diagnosis
from edgevision.quantization.ranges.narrow import RangeReport
from edgevision.quantization.steps import StepReport
from edgevision.specs import Scheme

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


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationResult:
    """A quantized file and what it cost.

    Attributes:
        output: The file.
        scheme: What became integer.
        seconds: Time it took.
        sqnr_db: Signal-to-noise ratio of the model's outputs on the calibration images, with the
            float model's as signal, each output in its own scale; ``None`` without images, or
            where they are equal.
        outputs: The same for each output; of a detector, its raw heads.
        agreement: Share of equal answers on the calibration images: classes, boxes (F1) or pixels;
            ``None`` without images, or where the float model finds nothing.
        layers: How every layer with weights came out; empty without images.
        repairs: The steps that were applied.
        ranges: How the ranges of activations were chosen.
        calibration: What was seen of the calibration images; ``None`` without.
        warnings: What a person should know, one sentence each.
        num_images: Calibration images that were used.
        skipped: Broken images that were left out, each with the reason.
        accuracy: Measured where labelled images were given.
        diagnosis: What every layer lost and why, where it was asked for.
    """

    output: Path
    scheme: Scheme
    seconds: float
    sqnr_db: float | None
    outputs: tuple[OutputReport, ...] = ()
    agreement: float | None = None
    layers: tuple[LayerReport, ...] = ()
    repairs: tuple[StepReport, ...] = ()
    ranges: RangeReport = field(default_factory=RangeReport)
    calibration: CalibrationReport | None = None
    warnings: tuple[str, ...] = ()
    num_images: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()
    accuracy: Accuracy | None = None
    diagnosis: Diagnosis | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "output": str(self.output),
            "scheme": str(self.scheme),
            "seconds": round(self.seconds, 3),
            "sqnr_db": self.sqnr_db,
            "outputs": [output.to_dict() for output in self.outputs],
            "agreement": self.agreement,
            "layers": [layer.to_dict() for layer in self.layers],
            "repairs": [step.to_dict() for step in self.repairs],
            "ranges": self.ranges.to_dict(),
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "warnings": list(self.warnings),
            "num_images": self.num_images,
            "skipped": [{"file": str(file), "reason": reason} for file, reason in self.skipped],
            "accuracy": self.accuracy.to_dict() if self.accuracy else None,
            "diagnosis": self.diagnosis.to_dict() if self.diagnosis else None,
        }
