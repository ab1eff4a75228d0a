"""The committed models are what their recipe builds."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from edgevision.graph.tflite import read_tflite


def load_recipe():
    spec = spec_from_file_location("stored_models", Path(__file__).parent / "stored_models.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RECIPE = load_recipe()


@pytest.mark.parametrize("name", sorted(RECIPE.STORED))
def test_stored_model_is_current(name):
    pytest.importorskip("ai_edge_litert")
    stored, built = read_tflite(RECIPE.FOLDER / name), read_tflite(RECIPE.STORED[name]())
    assert [op.name for op in stored.ops] == [op.name for op in built.ops]
    for old, new in zip(stored.tensors, built.tensors, strict=True):
        assert (old.name, old.shape, old.dtype) == (new.name, new.shape, new.dtype)
        assert (old.data is None) == (new.data is None)
        if old.data is not None:
            np.testing.assert_array_equal(old.data, new.data)
