from __future__ import annotations

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.runtime.results import Classification, Prediction

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
