"""Tiny Keras models that the converter tests share; each is built and saved once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NUM_CLASSES = 5
SIDE = 16


def import_keras() -> Any:
    pytest.importorskip("tensorflow")
    from edgevision.backends import import_backend
    from edgevision.converters.native_output import capture_output

    with capture_output():
        return import_backend("keras")


def make_classifier(keras: Any, *, input_shape: tuple[int | None, ...] = (SIDE, SIDE, 3)) -> Any:
    """Convolution, depthwise convolution, batch normalization, hard swish, dropout, softmax."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    image = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization(beta_initializer="ones", gamma_initializer="ones")(x)
    x = layers.Activation("hard_silu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", bias_initializer="ones")(x)
    x = layers.ReLU(6)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(
        NUM_CLASSES,
        activation="softmax",
        kernel_initializer=keras.initializers.RandomNormal(stddev=2.0, seed=1),
        bias_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=2),
    )(x)
    return keras.Model(image, x, name="tiny")


@pytest.fixture(scope="session")
def keras() -> Any:
    return import_keras()


@pytest.fixture(scope="session")
def models(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tiny.keras`` and the ``tiny.tflite`` made from it."""
    from edgevision.converters.convert import convert

    folder = tmp_path_factory.mktemp("models")
    make_classifier(keras).save(folder / "tiny.keras")
    convert(folder / "tiny.keras", folder / "tiny.tflite")
    return folder


@pytest.fixture
def save(keras: Any, tmp_path: Path) -> Callable[[Any], Path]:
    """Save a model and return the file."""

    def save_model(model: Any) -> Path:
        path = tmp_path / "model.keras"
        model.save(path)
        return path

    return save_model
