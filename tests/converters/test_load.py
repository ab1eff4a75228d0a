from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.converters.convert import convert
from edgevision.converters.load import is_saved_model, load_keras_model
from edgevision.converters.native_output import capture_output
from edgevision.errors import InvalidModelError, MissingFileError
from edgevision.graph.reader import read_graph

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",
    "ignore:.*HDF5 file:UserWarning",
)


@pytest.fixture(scope="module")
def model(keras: Any, models: Path) -> Any:
    return load_keras_model(models / "tiny.keras")


def draw_image() -> Any:
    return np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)


def test_saved_model_answers_like_its_source(model: Any, tmp_path: Path) -> None:
    with capture_output():
        model.export(tmp_path / "saved")

    loaded = load_keras_model(tmp_path / "saved")

    assert is_saved_model(tmp_path / "saved")
    image = draw_image()
    (answer,) = loaded({loaded.inputs[0].name: image}).values()
    np.testing.assert_allclose(np.asarray(answer), np.asarray(model(image)), atol=1e-6)


def test_saved_model_converts_without_a_trace_of_its_open_batch(model: Any, tmp_path: Path) -> None:
    with capture_output():
        model.export(tmp_path / "saved")

    result = convert(tmp_path / "saved", tmp_path / "m.tflite")

    names = [op.name for op in read_graph(result.output).ops]
    assert names[-3:] == ["MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert len(names) == 6
    assert result.parity.max_relative_error < 1e-5


def test_h5_loads(model: Any, tmp_path: Path) -> None:
    with capture_output():
        model.save(tmp_path / "m.h5")

    loaded = load_keras_model(tmp_path / "m.h5")

    image = draw_image()
    np.testing.assert_allclose(np.asarray(loaded(image)), np.asarray(model(image)), atol=1e-6)


def test_what_is_no_model_is_refused(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        load_keras_model(tmp_path / "missing.keras")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidModelError):
        load_keras_model(tmp_path / "folder")
    (tmp_path / "folder/saved_model.pb").write_bytes(b"noise")
    with pytest.raises(InvalidModelError, match="SavedModel"):
        load_keras_model(tmp_path / "folder")
