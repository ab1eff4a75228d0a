from __future__ import annotations

import numpy as np
import pytest

from edgevision.errors import InvalidConfigError
from edgevision.runtime.results import Classification, Detections, Prediction

CAT = Prediction(label="cat", index=1, score=0.75)
DOG = Prediction(label="dog", index=0, score=0.25)
ANSWER = Classification(predictions=(CAT, DOG))


def test_threshold_is_inclusive():
    assert ANSWER.above(0.75).predictions == (CAT,)


def test_nothing_left_has_no_top():
    with pytest.raises(InvalidConfigError):
        _ = ANSWER.above(1).top


def test_iterates_over_predictions():
    assert list(ANSWER) == [CAT, DOG]
    assert len(ANSWER) == 2


def test_plain_values():
    assert ANSWER.to_dict() == {
        "predictions": [
            {"label": "cat", "index": 1, "score": 0.75},
            {"label": "dog", "index": 0, "score": 0.25},
        ]
    }


FOUND = Detections(
    boxes=np.float32([[1, 2, 3, 4], [0, 0, 9, 9.126]]),
    scores=np.float32([0.75, 0.5]),
    classes=np.array([1, 0]),
    labels=("cat", "dog"),
    image_size=(10, 10),
)


def test_objects_above_a_threshold():
    assert len(FOUND.above(0.5)) == 2
    best = FOUND.above(0.75)
    assert (best.labels, best.boxes.tolist()) == (("cat",), [[1, 2, 3, 4]])
    assert len(FOUND.above(1)) == 0


def test_objects_of_a_class():
    assert FOUND.of_class("dog").scores.tolist() == [0.5]
    assert len(FOUND.of_class("cow")) == 0


def test_objects_as_plain_values():
    assert FOUND.to_dict()["predictions"][1] == {
        "label": "dog",
        "index": 0,
        "score": 0.5,
        "box": [0, 0, 9, 9.13],
    }
