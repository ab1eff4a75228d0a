"""What a quantized file has to hold, and whether it does."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgevision.errors import InvalidConfigError
from edgevision.quantization.schemes import SchemeRow
from edgevision.specs import Lift, Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Limits; ``None`` sets none.

    Attributes:
        max_drop: Percentage points of top-1, mAP or mean IoU that may be lost.
        min_agreement: Share of the float model's answers that have to stay, 0 to 1.
        budget_s: Seconds after which no further file is tried.
        lift: What layers are lifted to where the default does not hold.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    budget_s: float | None = None
    lift: Lift = Lift.FLOAT

    def __post_init__(self) -> None:
        """Refuse limits that are out of range."""
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise InvalidConfigError(
                "max_drop is in percentage points, 0 to 100", received=f"max_drop={self.max_drop}"
            )
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise InvalidConfigError(
                "min_agreement is a share, 0 to 1",
                received=f"min_agreement={self.min_agreement}",
                remedy="for example --min-agreement 0.97",
            )
        if self.budget_s is not None and not self.budget_s > 0:
            raise InvalidConfigError(
                "a budget is a number of seconds above 0", received=f"budget={self.budget_s}"
            )

    @property
    def is_set(self) -> bool:
        """Whether there is anything to hold; an agreement of 0 always does."""
        return self.max_drop is not None or bool(self.min_agreement)

    def holds(self, *, drop: float | None, agreement: float | None) -> bool:
        """Tell whether figures are within the limits; a figure that is missing is not.

        >>> Target(max_drop=1.0).holds(drop=1.0, agreement=None)
        True
        >>> Target(max_drop=1.0, min_agreement=0.9).holds(drop=0.5, agreement=0.8)
        False
        """
        # Shares of images: a drop of exactly the limit must not fail by rounding.
        if self.max_drop is not None and (drop is None or drop > self.max_drop + 1e-9):
            return False
        if not self.min_agreement:
            return True
        return agreement is not None and agreement >= self.min_agreement - 1e-9

    def check(self, row: SchemeRow, *, has_labels: bool, has_images: bool) -> None:
        """Refuse limits that can not be measured.

        Raises:
            InvalidConfigError: ``max_drop`` without labelled images, ``min_agreement`` without
                calibration images, or 16-bit activations where nothing can be lifted to them.
        """
        if self.max_drop is not None and not has_labels:
            raise InvalidConfigError(
                "max_drop needs labelled images",
                received=f"max_drop={self.max_drop}",
                remedy="name them with --eval",
            )
        if self.min_agreement is not None and not has_images:
            raise InvalidConfigError(
                "min_agreement is measured on calibration images",
                received=f"min_agreement={self.min_agreement}, scheme={row.scheme}",
                remedy="name a folder of typical photos with --calibration",
            )
        if self.budget_s is not None and not self.is_set:
            raise InvalidConfigError(
                "a budget is for the search for a target",
                received=f"budget={self.budget_s}",
                remedy="give --max-drop or --min-agreement too",
            )
        if self.lift is Lift.INT16:
            self._check_lift(row, has_images=has_images)

    def _check_lift(self, row: SchemeRow, *, has_images: bool) -> None:
        if row.activation_bits != 8 or row.scheme is Scheme.EDGETPU:
            raise InvalidConfigError(
                "only 8-bit activations of CPUs and microcontrollers are lifted to 16 bits",
                received=f"lift={self.lift}, scheme={row.scheme}",
                remedy="use --scheme int8 or int8-per-tensor, or leave it out",
            )
        if not self.is_set or not has_images:
            raise InvalidConfigError(
                "layers are lifted in the search for a target, on calibration images",
                received=f"lift={self.lift}",
                remedy="give --calibration, and --max-drop or --min-agreement",
            )


def find_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``count`` images (Wilson 1927).

    >>> [round(v, 3) for v in find_interval(0.95, 100)]
    [0.888, 0.978]
    """
    z = 1.96
    middle = share + z**2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)
