"""What ``quantize`` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.quantization.diagnose import LayerReport
from edgevision.quantization.repair import StepReport
from edgevision.specs import Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Top-1 of the float and of the quantized file on labelled images.

    Attributes:
        float_top1: 0 to 1.
        quantized_top1: 0 to 1.
        samples: Number of images.
        notes: How the classes of the images were matched to the model's, where that was open.
    """

    float_top1: float
    quantized_top1: float
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def drop(self) -> float:
        """Percentage points that were lost; below 0 where the quantized file is better."""
        return 100 * (self.float_top1 - self.quantized_top1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "float": self.float_top1,
            "quantized": self.quantized_top1,
            "drop": self.drop,
            "samples": self.samples,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationResult:
    """A quantized file and what it cost.

    Attributes:
        output: The file.
        scheme: What became integer.
        seconds: Time it took.
        sqnr_db: Signal-to-noise ratio of the model's first output on the calibration images, with
            the float model's as signal; ``None`` without images, or where they are equal.
        layers: How every layer with weights came out; empty without images.
        repairs: The steps that were applied.
        warnings: What a person should know, one sentence each.
        num_images: Calibration images that were used.
        skipped: Broken images that were left out, each with the reason.
        accuracy: Measured where labelled images were given.
    """

    output: Path
    scheme: Scheme
    seconds: float
    sqnr_db: float | None
    layers: tuple[LayerReport, ...] = ()
    repairs: tuple[StepReport, ...] = ()
    warnings: tuple[str, ...] = ()
    num_images: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()
    accuracy: Accuracy | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "output": str(self.output),
            "scheme": str(self.scheme),
            "seconds": round(self.seconds, 3),
            "sqnr_db": self.sqnr_db,
            "layers": [layer.to_dict() for layer in self.layers],
            "repairs": [step.to_dict() for step in self.repairs],
            "warnings": list(self.warnings),
            "num_images": self.num_images,
            "skipped": [{"file": str(file), "reason": reason} for file, reason in self.skipped],
            "accuracy": self.accuracy.to_dict() if self.accuracy else None,
        }
