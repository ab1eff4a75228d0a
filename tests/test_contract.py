from __future__ import annotations

import json
from typing import Any

import pytest

from edgevision.contract import AnchorGrid, Contract, Detection, Preprocessing
from edgevision.errors import InvalidConfigError
from edgevision.specs import ColorOrder, ResizeRule, ScoreKind, Task

FULL = Contract(
    task=Task.CLASSIFY,
    labels=("cat", "dog, small", "Äpfel"),
    preprocessing=Preprocessing(
        resize=ResizeRule.CROP,
        crop_fraction=0.875,
        mean=(123.68, 116.78, 103.94),
        std=(58.4, 57.1, 57.4),
        color=ColorOrder.BGR,
    ),
    scores=ScoreKind.LOGITS,
    name="pets",
    assumed=("labels",),
)


def test_round_trip_through_json() -> None:
    assert Contract.from_dict(json.loads(json.dumps(FULL.to_dict()))) == FULL


def test_a_detector_round_trips_with_its_anchors() -> None:
    grids = (
        AnchorGrid(size=(2, 3), boxes=((0.1, 0.2), (0.2, 0.1))),
        AnchorGrid(size=(1, 1), boxes=((0.9, 0.9),)),
    )
    detection = Detection(anchors=grids, score_threshold=0.3, class_agnostic=True)
    contract = Contract(task=Task.DETECT, labels=("cat",), detection=detection)
    assert Contract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract
    assert detection.num_anchors == 2 * 3 * 2 + 1


def test_keys_of_a_later_version_are_ignored() -> None:
    values = FULL.to_dict()
    values["anchors"] = [1, 2]
    values["preprocessing"]["gamma"] = 2.2
    assert Contract.from_dict(values) == FULL


def test_plain_text_becomes_the_enumeration() -> None:
    contract = Contract.from_dict({"task": "segment", "preprocessing": {"resize": "letterbox"}})
    assert contract.task is Task.SEGMENT
    assert contract.preprocessing.resize is ResizeRule.LETTERBOX


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"task": "sing"},
        {"task": "classify", "preprocessing": {"std": [0.0]}},
        {"task": "classify", "preprocessing": {"mean": [1.0, 2.0]}},
        {"task": "classify", "preprocessing": {"crop_fraction": 0}},
        {"task": "classify", "preprocessing": {"mean": "x"}},
        {"task": "classify", "preprocessing": None},
        {"task": "classify", "labels": 7},
        {"task": "detect", "detection": {"box_scales": [10, 10, 5]}},
        {"task": "detect", "detection": {"box_scales": [10, 10, 5, 0]}},
        {"task": "detect", "detection": {"score_threshold": 2}},
        {"task": "detect", "detection": {"max_detections": 0}},
        {"task": "detect", "detection": {"anchors": [{"size": [1, 1], "boxes": []}]}},
        {"task": "detect", "detection": {"anchors": [{"size": [0, 1], "boxes": [[1, 1]]}]}},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigError):
        Contract.from_dict(wrong)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"resize": "squash"}, "no such resize"),
        ({"color": "cmyk"}, "no such color"),
        ({"mean": (float("nan"),)}, "must be finite"),
        ({"std": (0.0,)}, "std above 0"),
    ],
)
def test_values_from_outside_are_refused_with_the_rule(wrong: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidConfigError, match=rule):
        Preprocessing(**wrong)
