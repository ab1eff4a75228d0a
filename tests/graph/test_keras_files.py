from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.errors import InvalidModelError, MissingFileError, UnsupportedOpError
from edgevision.graph.keras_files import load_keras_file, read_keras_config, refuse_lambdas

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

# Keras and NumPy 2 disagree on a keyword; nothing to do with what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def build_model() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Flatten()(x))


def age(path: Path) -> None:
    """Write into an .h5 what Keras 2 wrote: ``groups``, lists, ``batch_input_shape``."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer.pop("module", None)
            layer.pop("registered_name", None)
            inner = layer["config"]
            if layer["class_name"] == "DepthwiseConv2D":
                inner["groups"] = 1
            if layer["class_name"] == "InputLayer":
                inner["batch_input_shape"] = inner.pop("batch_shape")
            if layer["class_name"] == "BatchNormalization":
                inner["axis"] = [3]
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.4.0"


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    model = build_model()
    path = tmp_path / f"net{suffix}"
    model.save(path)
    image = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(load_keras_file(path)(image), model(image), rtol=1e-6)


def test_keras_2_files_load_with_genuine_layers(tmp_path: Path) -> None:
    model = build_model()
    path = tmp_path / "old.h5"
    model.save(path)
    age(path)
    loaded = load_keras_file(path)
    image = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(loaded(image), model(image), rtol=1e-6)
    # A stand-in class would be written into the next file, which nobody else could then read.
    assert type(loaded.get_layer("depthwise")) is keras.layers.DepthwiseConv2D
    loaded.save(tmp_path / "new.keras")
    assert keras.models.load_model(tmp_path / "new.keras").count_params() == model.count_params()


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_lambda_layers_are_refused(tmp_path: Path, name: str) -> None:
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, output_shape=(4,), name="double")]
    )
    model.save(tmp_path / name)
    with pytest.raises(UnsupportedOpError, match="double"):
        load_keras_file(tmp_path / name)


def test_lambdas_are_found_at_any_depth() -> None:
    hidden = {"class_name": "Lambda", "config": {"name": "inner"}}
    nested = {"class_name": "Functional", "config": {"layers": [{"class_name": "TimeDistributed"}]}}
    nested["config"]["layers"][0]["config"] = {"layer": hidden}  # type: ignore[index]
    with pytest.raises(UnsupportedOpError, match="inner"):
        refuse_lambdas(nested, "file")
    activation = {"class_name": "Dense", "config": {"activation": {"class_name": "__lambda__"}}}
    with pytest.raises(UnsupportedOpError, match="__lambda__"):
        refuse_lambdas(activation, "file")


def test_unknown_layers_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    build_model().save(path)
    config = dict(read_keras_config(path))
    layer = config["config"]["layers"][1]
    layer.update({"class_name": "MyLayer", "module": "mine", "registered_name": "mine>MyLayer"})
    rewrite_config(path, json.dumps(config))
    with pytest.raises(UnsupportedOpError, match="does not know"):
        load_keras_file(path)


def rewrite_config(path: Path, text: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "config.json": text.encode()}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("text", ["{", "[]", '"text"'])
def test_damaged_configuration(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.keras"
    build_model().save(path)
    rewrite_config(path, text)
    with pytest.raises(InvalidModelError):
        load_keras_file(path)


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_cut_off_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    build_model().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidModelError):
        load_keras_file(path)


@pytest.mark.parametrize("name", ["noise.keras", "noise.h5"])
def test_noise(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)) * 10)
    with pytest.raises(InvalidModelError, match="not a Keras model file"):
        load_keras_file(tmp_path / name)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    path = tmp_path / "net.weights.h5"
    build_model().save_weights(path)
    with pytest.raises(InvalidModelError, match="weights only"):
        load_keras_file(path)


def test_wrong_suffix_is_named(tmp_path: Path) -> None:
    build_model().save(tmp_path / "net.keras")
    shutil.move(tmp_path / "net.keras", tmp_path / "net.model")
    with pytest.raises(InvalidModelError, match=r"rename it"):
        load_keras_file(tmp_path / "net.model")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        load_keras_file(tmp_path / "none.keras")


def test_saved_model_folder_points_to_the_converter(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InvalidModelError, match="edgevision convert"):
        load_keras_file(tmp_path)


def test_real_keras_2_files(real_data: Path) -> None:
    counts = {p.name: load_keras_file(p).count_params() for p in real_data.glob("models/*.h5")}
    assert counts["mobilenet_v1_0.25_224_imagenet.h5"] == 475_544
    assert len(counts) == 3
