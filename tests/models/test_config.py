from __future__ import annotations

import math
from typing import Any

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.models.config import (
    DEFAULT_ACTIVATION,
    NUM_CLASSES,
    NetworkConfig,
    parse_activation,
    parse_pooling,
    parse_size,
)
from edgevision.models.net import Activation, PoolKind
from edgevision.specs import Task


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"alpha": 0}, "alpha must be above 0"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"alpha": math.nan}, "alpha=nan"),
        ({"alpha": math.inf}, "alpha=inf"),
        ({"alpha": "1"}, "alpha=1"),
        ({"input_size": (31, 64)}, "at least 32 pixels.*input_size=31x64"),
        ({"num_classes": 0}, "num_classes=0.*number of classes"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
        ({"channels": 0}, "channels=0"),
        ({"channels": True}, "channels=True"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"output_stride": 8}, "output_stride must be 16 or 32"),
    ],
)
def test_values_out_of_range_are_refused_by_name(choice: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"alpha": 1.0, "input_size": (32, 32)}
    with pytest.raises(InvalidConfigError, match=message):
        NetworkConfig(**{**valid, **choice})


@pytest.mark.parametrize("size", [(96,), (96, 96, 3), 96.5, "96", (0, 96), (96, None), True])
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(InvalidConfigError, match="input_size"):
        parse_size(size)


def test_scores_are_made_as_suits_the_task_by_default() -> None:
    functions = [parse_activation(DEFAULT_ACTIVATION, task) for task in Task]
    assert functions == [Activation.SOFTMAX, Activation.SIGMOID, Activation.LINEAR]
    assert [NUM_CLASSES[task] for task in Task] == [1000, 90, 21]


def test_names_of_options_are_parsed() -> None:
    assert parse_activation(None) is Activation.LINEAR
    assert parse_activation("softmax") is Activation.SOFTMAX
    assert parse_activation("softmax", Task.DETECT) is Activation.SOFTMAX
    assert parse_activation(None, Task.DETECT) is Activation.LINEAR
    assert parse_pooling("avg") is PoolKind.AVERAGE
    assert parse_pooling(None) is None
    with pytest.raises(InvalidConfigError, match="softmax, sigmoid, linear"):
        parse_activation("relu")
    with pytest.raises(InvalidConfigError, match="pooling=mean"):
        parse_pooling("mean")
