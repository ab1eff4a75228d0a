"""What ``verify`` returns, for each task."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isnan
from pathlib import Path
from typing import Any

NUM_WORST = 10
"""Images that are listed one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDifference:
    """How far two classifiers' answers lie apart on one image.

    Attributes:
        file: The image.
        max_abs_error: Largest difference of any score.
        reference: The reference's best class.
        candidate: The candidate's best class.
    """

    file: Path
    max_abs_error: float
    reference: str
    candidate: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return _to_json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAgreement:
    """How far two detectors or segmenters agree on one image.

    Attributes:
        file: The image.
        agreement: Share of equal boxes (F1) or pixels, 0 to 1.
    """

    file: Path
    agreement: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return _to_json(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the results of all tasks have.

    Attributes:
        samples: Images compared.
        min_agreement: What was asked for, if anything.
        worst: The images that differ most, worst first.
        warnings: What differs between the two contracts, what was assumed, and which broken images
            were left out.
        failure: Why it did not pass, otherwise empty.
    """

    samples: int
    min_agreement: float | None
    worst: tuple[ImageDifference, ...] | tuple[ImageAgreement, ...]
    warnings: tuple[str, ...]
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether every number is one, and the agreement is what was asked for."""
        return not self.failure

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return _to_json(self) | {"passed": self.passed}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierVerification(Verification):
    """How far two classifiers agree.

    Attributes:
        top1_agreement: Share of images with the same best class; a class that ties for the
            candidate's best counts as the same.
        max_abs_error: Largest difference of any score of any image.
        sqnr_db: Signal to noise of all scores, decibels.
    """

    top1_agreement: float
    max_abs_error: float
    sqnr_db: float

    @property
    def agreement(self) -> float:
        """Share of equal answers: ``top1_agreement``."""
        return self.top1_agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorVerification(Verification):
    """How far two detectors agree.

    Attributes:
        map_delta: The candidate's figure minus the reference's, 0 to 1: below 0 where it is worse.
            On annotated images both are measured; otherwise the reference's own boxes are the
            truth, so that its figure is 1.
        metric: ``map``, COCO's, on annotated images; ``map50``, at an overlap of 0.5, otherwise.
        reference_map: The reference's figure.
        candidate_map: The candidate's.
        box_agreement: F1 of the boxes that score 0.3 or more: a box is found where the other model
            has one of its class that overlaps it by half and scores at least half the threshold.
        annotated: Whether the images have boxes.
    """

    map_delta: float
    metric: str
    reference_map: float
    candidate_map: float
    box_agreement: float
    annotated: bool

    @property
    def agreement(self) -> float:
        """Share of equal answers: ``box_agreement``."""
        return self.box_agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterVerification(Verification):
    """How far two segmenters agree.

    Attributes:
        miou_delta: The candidate's mean IoU minus the reference's, 0 to 1: below 0 where it is
            worse. On images with masks both are measured; otherwise the reference's own masks are
            the truth, so that its mean IoU is 1.
        reference_miou: The reference's mean IoU.
        candidate_miou: The candidate's.
        pixel_agreement: Share of equal pixels, at the size of the original images.
        annotated: Whether the images have masks.
    """

    miou_delta: float
    reference_miou: float
    candidate_miou: float
    pixel_agreement: float
    annotated: bool

    @property
    def agreement(self) -> float:
        """Share of equal answers: ``pixel_agreement``."""
        return self.pixel_agreement


VerificationResult = ClassifierVerification | DetectorVerification | SegmenterVerification


def describe_failure(agreement: float, min_agreement: float | None, what: str) -> str:
    """Say why an agreement is too small; empty where it is not.

    >>> describe_failure(0.5, 0.75, "boxes")
    'the models agree on 50.0% of the boxes, 75.0% was asked for'
    """
    if min_agreement is None or agreement >= min_agreement:
        return ""
    return f"the models agree on {agreement:.1%} of the {what}, {min_agreement:.1%} was asked for"


def _to_json(value: Any) -> dict[str, Any]:
    return {f.name: _simplify(getattr(value, f.name)) for f in fields(value)}


def _simplify(value: Any) -> Any:
    if isinstance(value, tuple):
        return [v.to_dict() if hasattr(v, "to_dict") else v for v in value]
    if isinstance(value, Path):
        return str(value)
    # JSON has no word for what is no number.
    return None if isinstance(value, float) and isnan(value) else value
