"""How many of its answers a model shares with another one, without any labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevision.metrics.detection import FoundBoxes, box_iou

THRESHOLD = 0.3
"""Boxes that score so much are what a person sees."""

_MIN_IOU = 0.5


@dataclass(slots=True, kw_only=True)
class BoxAgreement:
    """Counts on how many boxes two detectors agree.

    A box of one model is found by the other if that has one of the same class that overlaps it by
    half. The other's may score half as much: a score that moves across the threshold is no other
    answer.

    Attributes:
        threshold: Boxes that score below it do not have to be found.
        num_reference: Boxes of the reference.
        num_found: Those of them that the candidate finds.
        num_candidate: Boxes of the candidate.
        num_right: Those of them that the reference has.
    """

    threshold: float = THRESHOLD
    num_reference: int = 0
    num_found: int = 0
    num_candidate: int = 0
    num_right: int = 0

    def add(self, reference: FoundBoxes, candidate: FoundBoxes) -> float:
        """Count one image, and return the agreement on it alone."""
        found, total = _count_found(reference, candidate, self.threshold)
        right, claimed = _count_found(candidate, reference, self.threshold)
        self.num_reference += total
        self.num_found += found
        self.num_candidate += claimed
        self.num_right += right
        return _combine((found, total), (right, claimed))

    @property
    def any(self) -> bool:
        """Whether either model has found anything."""
        return self.num_reference + self.num_candidate > 0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two shares, 0 to 1; 1 where neither model finds anything."""
        return _combine((self.num_found, self.num_reference), (self.num_right, self.num_candidate))


def share_equal(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Return the share of equal class numbers of two masks of one size.

    >>> share_equal(np.array([[1, 2]]), np.array([[1, 3]]))
    0.5
    """
    return float(np.mean(first == second))


def _count_found(boxes: FoundBoxes, others: FoundBoxes, threshold: float) -> tuple[int, int]:
    """Return how many boxes above the threshold the other model has, and how many there are."""
    wanted, known = boxes.scores >= threshold, others.scores >= threshold / 2
    alike = box_iou(boxes.boxes[wanted], others.boxes[known]) >= _MIN_IOU
    alike &= boxes.classes[wanted][:, None] == others.classes[known]
    return int(alike.any(axis=1).sum()), int(wanted.sum())


def _combine(first: tuple[int, int], second: tuple[int, int]) -> float:
    if not first[1] + second[1]:
        return 1.0
    # A model without boxes claims nothing wrong; what it misses counts on the other side.
    shares = [found / total if total else 1.0 for found, total in (first, second)]
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0
