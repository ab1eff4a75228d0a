"""What ``quantize`` returns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevision.contract import Contract
from edgevision.quantization.accuracy import Accuracy
from edgevision.quantization.advisor import CalibrationReport, warn_of_source
from edgevision.quantization.diagnose import LayerReport, OutputReport
from edgevision.quantization.diagnosis.diagnosis import Diagnosis
from edgevision.quantization.images import CalibrationImages
from edgevision.quantization.pipeline import Quantized
from edgevision.quantization.ranges.narrow import RangeReport
from edgevision.quantization.request import Request
from edgevision.quantization.search_report import SearchReport
from edgevision.quantization.steps import StepReport
from edgevision.specs import Scheme


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
        search: How a target was reached; ``None`` where none was set.
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
    search: SearchReport | None = None
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
            "search": self.search.to_dict() if self.search else None,
            "diagnosis": self.diagnosis.to_dict() if self.diagnosis else None,
        }


def build_result(
    request: Request,
    quantized: Quantized,
    contract: Contract,
    *,
    images: CalibrationImages | None,
    warnings: Sequence[str] = (),
    accuracy: Accuracy | None = None,
    search: SearchReport | None = None,
    diagnosis: Diagnosis | None = None,
) -> QuantizationResult:
    """Gather what ``quantize`` returns, once the file is written.

    Args:
        request: What was wanted.
        quantized: What was made.
        contract: Of the float file.
        images: The calibration images.
        warnings: About the file as a whole.
        accuracy: On labelled images.
        search: How a target was reached.
        diagnosis: What every layer lost and why.
    """
    return QuantizationResult(
        output=request.output,
        scheme=request.options.row.scheme,
        seconds=time.perf_counter() - request.start,
        sqnr_db=quantized.sqnr_db,
        outputs=quantized.outputs,
        agreement=quantized.agreement,
        layers=quantized.layers,
        repairs=quantized.repairs,
        ranges=quantized.ranges,
        calibration=quantized.calibration,
        warnings=(*warn_of_source(contract, images), *quantized.warnings, *warnings),
        num_images=images.num_used if images else 0,
        skipped=tuple(images.skipped) if images else (),
        accuracy=accuracy,
        search=search,
        diagnosis=diagnosis,
    )
