from __future__ import annotations

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.quantization.schemes import SCHEMES
from edgevision.quantization.target import Target, find_interval
from edgevision.specs import Lift, Scheme


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_drop": -1}, "percentage points"),
        ({"max_drop": 101}, "percentage points"),
        ({"min_agreement": 97}, "a share, 0 to 1"),
        ({"min_agreement": -0.1}, "a share, 0 to 1"),
        ({"min_agreement": 0.9, "budget_s": 0}, "seconds above 0"),
        ({"min_agreement": 0.9, "budget_s": float("nan")}, "seconds above 0"),
    ],
)
def test_limits_out_of_range(limits: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        Target(**limits)


def test_limits_that_can_not_be_measured() -> None:
    row = SCHEMES[Scheme.INT8]
    for target, message in (
        (Target(max_drop=1), "labelled images"),
        (Target(min_agreement=0.9), "calibration images"),
        (Target(budget_s=5), "search for a target"),
    ):
        with pytest.raises(InvalidConfigError, match=message):
            target.check(row, has_labels=False, has_images=False)
    Target(max_drop=1, min_agreement=0.9).check(row, has_labels=True, has_images=True)


@pytest.mark.parametrize("scheme", [Scheme.EDGETPU, Scheme.INT16X8, Scheme.DYNAMIC])
def test_only_8_bit_activations_are_lifted_to_16(scheme: Scheme) -> None:
    target = Target(min_agreement=0.9, lift=Lift.INT16)
    with pytest.raises(InvalidConfigError, match="lifted to 16 bits"):
        target.check(SCHEMES[scheme], has_labels=False, has_images=True)
    target.check(SCHEMES[Scheme.INT8_PER_TENSOR], has_labels=False, has_images=True)


def test_nothing_is_lifted_without_a_target_or_images() -> None:
    row = SCHEMES[Scheme.INT8]
    for target in (Target(lift=Lift.INT16), Target(lift=Lift.INT16, min_agreement=0)):
        with pytest.raises(InvalidConfigError, match="search for a target"):
            target.check(row, has_labels=True, has_images=True)
    with pytest.raises(InvalidConfigError, match="search for a target"):
        Target(lift=Lift.INT16, max_drop=1).check(row, has_labels=True, has_images=False)


def test_a_missing_figure_does_not_hold() -> None:
    assert not Target(max_drop=1).holds(drop=None, agreement=1.0)
    assert not Target(min_agreement=0.5).holds(drop=0.0, agreement=None)
    assert not Target().is_set
    assert not Target(min_agreement=0).is_set
    assert Target().holds(drop=None, agreement=None)


def test_interval_narrows_with_images() -> None:
    few, many = find_interval(0.9, 20), find_interval(0.9, 2000)
    assert few[0] < many[0] < 0.9 < many[1] < few[1] <= 1
    assert find_interval(1.0, 50)[1] == 1.0
