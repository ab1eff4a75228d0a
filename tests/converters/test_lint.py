from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.converters.convert import convert
from edgevision.converters.lint import lint_model
from edgevision.errors import InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.graph.reader import read_graph

# Keras reads its own variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NUM_CLASSES = 5


def make_model(keras: Any, image: Any, *extra: Any) -> Any:
    x = image
    for layer in extra:
        x = layer(x)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(NUM_CLASSES, activation="softmax")(x))


def test_an_open_batch_becomes_one(keras: Any) -> None:
    linted = lint_model(make_model(keras, keras.Input((8, 8, 3))))

    assert [spec.shape for spec in linted.inputs] == [(1, 8, 8, 3)]
    assert linted.mended == ("batch size fixed at 1",)


def test_a_fixed_batch_becomes_one(keras: Any) -> None:
    model = make_model(keras, keras.Input((8, 8, 3), batch_size=4))

    linted = lint_model(model)

    assert linted.inputs[0].shape == (1, 8, 8, 3)
    assert "batch size 4 became open" in linted.mended
    assert model.inputs[0].shape == (4, 8, 8, 3)


def test_an_open_size_needs_input_size(keras: Any) -> None:
    model = make_model(keras, keras.Input((None, None, 3)))

    with pytest.raises(InvalidModelError, match="--input-size"):
        lint_model(model)

    linted = lint_model(model, input_size=(8, 12))
    assert linted.inputs[0].shape == (1, 8, 12, 3)
    assert "input size fixed at 8x12" in linted.mended


def test_a_fixed_size_can_not_be_changed(keras: Any) -> None:
    with pytest.raises(InvalidConfigError, match="the model takes 8x8"):
        lint_model(make_model(keras, keras.Input((8, 8, 3))), input_size=(16, 16))


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_other_float_types_become_float32(keras: Any, policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = make_model(keras, keras.Input((8, 8, 3)))
    finally:
        keras.config.set_dtype_policy("float32")

    linted = lint_model(model)

    assert f"{policy} arithmetic became float32" in linted.mended
    assert {layer.compute_dtype for layer in linted.model.layers} == {"float32"}
    for old, new in zip(model.get_weights(), linted.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old.astype("float32"), new)


def test_layers_for_training_are_named(keras: Any) -> None:
    layers = keras.layers
    model = make_model(
        keras, keras.Input((8, 8, 3)), layers.RandomFlip(), layers.Dropout(0.1), layers.Dropout(0.1)
    )

    linted = lint_model(model)

    assert "training-only layers left out: 2x Dropout" in linted.mended
    assert len(linted.warnings) == 1
    assert "RandomFlip" in linted.warnings[0]


def test_lambdas_are_refused_at_any_depth(keras: Any) -> None:
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Lambda(lambda x: x * 2)])

    with pytest.raises(UnsupportedOpError, match="Lambda"):
        lint_model(make_model(keras, keras.Input((8, 8, 3)), inner))


def test_a_model_without_inputs_is_refused(keras: Any) -> None:
    with pytest.raises(UnsupportedOpError, match="fixed inputs"):
        lint_model(keras.Sequential([keras.layers.Dense(2)]))


@pytest.mark.parametrize(
    ("scale", "offset", "std"), [(1 / 255, 0.0, 1.0), (1 / 127.5, -1.0, 1.0), (2.0, -1.0, 255.0)]
)
def test_normalization_inside_the_network_is_recognized(
    keras: Any, scale: float, offset: float, std: float
) -> None:
    model = make_model(keras, keras.Input((8, 8, 3)), keras.layers.Rescaling(scale, offset))

    preprocessing = lint_model(model).preprocessing

    assert preprocessing is not None
    assert (preprocessing.mean, preprocessing.std) == ((0.0,), (std,))


def test_nested_sequential_and_several_inputs_convert(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()]
    )
    image, numbers = keras.Input((8, 8, 3), name="image"), keras.Input((6,), name="numbers")
    pooled = layers.GlobalAveragePooling2D()(inner(image))
    joined = layers.Concatenate()([pooled, numbers])
    outputs = [layers.Dense(3, name="kind")(joined), layers.Dense(2, name="place")(joined)]
    keras.Model([image, numbers], outputs).save(tmp_path / "m.keras")

    result = convert(tmp_path / "m.keras", tmp_path / "m.tflite", task="classify")

    inputs, outputs = read_graph(result.output).signatures["serving_default"]
    assert (sorted(inputs), sorted(outputs)) == (["image", "numbers"], ["kind", "place"])
    assert result.parity.max_relative_error < 1e-5


def test_sequential_with_a_reshape_stays_static(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Reshape((4, 4, 12)),
            layers.Conv2D(4, 3),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    ).save(tmp_path / "m.keras")

    result = convert(tmp_path / "m.keras", tmp_path / "m.tflite")

    names = {op.name for op in read_graph(result.output).ops}
    assert not names & {"SHAPE", "STRIDED_SLICE", "PACK", "READ_VARIABLE"}


def test_tensorflow_kernels_are_never_switched_on(keras: Any, tmp_path: Path) -> None:
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.ops.erfinv(keras.layers.Conv2D(2, 1)(image))).save(
        tmp_path / "m.keras"
    )

    with pytest.raises(UnsupportedOpError, match="Erfinv"):
        convert(tmp_path / "m.keras", tmp_path / "m.tflite", task="classify")

    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]
