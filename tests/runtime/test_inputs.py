from __future__ import annotations

import numpy as np
import pytest

from edgevision.errors import InvalidConfigError
from edgevision.runtime.inputs import check_inputs, name_uniquely
from edgevision.specs import TensorSpec


def test_dynamic_dimension_takes_any_length():
    spec = TensorSpec(name="x", shape=(1, -1, 3), dtype="uint8")
    for length in (1, 7):
        check_inputs([spec], {"x": np.zeros((1, length, 3), np.uint8)})
    with pytest.raises(InvalidConfigError):
        check_inputs([spec], {"x": np.zeros((1, 7, 4), np.uint8)})


def test_too_many_inputs_are_refused():
    spec = TensorSpec(name="x", shape=(1,), dtype="uint8")
    with pytest.raises(InvalidConfigError, match="x, y"):
        check_inputs([spec], {"x": np.zeros(1, np.uint8), "y": np.zeros(1, np.uint8)})


def test_repeated_names_are_numbered():
    assert name_uniquely(["a", "a", "b"]) == ["a:0", "a:1", "b"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_no_text(dtype):
    spec = TensorSpec(name="x", shape=(1,), dtype="string")
    with pytest.raises(InvalidConfigError, match=dtype):
        check_inputs([spec], {"x": np.zeros(1, dtype)})
