"""Opening a trained model from any of the forms in which Keras and TensorFlow store one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.converters.native_output import capture_output
from edgevision.errors import InvalidModelError, UnsupportedOpError, summarize
from edgevision.graph.keras_files import load_keras_file

_PREFERRED_SIGNATURES = ("serving_default", "serve")


def load_keras_model(path: str | Path) -> Any:
    """Load a trained model, uncompiled.

    Nothing is printed. A SavedModel becomes a functional model around its signature: it can be
    called and converted, but has no layers to train.

    Args:
        path: A ``.keras`` file, an ``.h5`` file of Keras 3 or Keras 2, or a SavedModel folder.

    Returns:
        The ``keras.Model``.

    Raises:
        MissingFileError: There is no such file or folder.
        InvalidModelError: It is not a whole model.
        UnsupportedOpError: It holds a Python lambda, an unknown layer or no usable signature.
        BackendUnavailableError: TensorFlow is not installed.
    """
    source = Path(path)
    with capture_output():
        if is_saved_model(source):
            return _load_saved_model(source)
        return load_keras_file(source)


def is_saved_model(path: str | Path) -> bool:
    """Whether ``path`` is a TensorFlow SavedModel folder."""
    return (Path(path) / "saved_model.pb").is_file()


def _load_saved_model(source: Path) -> Any:
    tf = import_backend("tensorflow")
    try:
        loaded = tf.saved_model.load(str(source))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise InvalidModelError(
            "TensorFlow can not load the SavedModel", received=f"{source}: {summarize(error)}"
        ) from error
    signature = _choose_signature(loaded.signatures, source)
    return _wrap_signature(signature, owner=loaded, source=source)


def _choose_signature(signatures: Mapping[str, Any], source: Path) -> Any:
    for name in _PREFERRED_SIGNATURES:
        if name in signatures:
            return signatures[name]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    raise UnsupportedOpError(
        "a SavedModel needs a serving_default signature",
        received=f"{source}, signatures: {', '.join(sorted(signatures)) or 'none'}",
        remedy="save it with model.export(folder), or give tf.saved_model.save a signature",
    )


def _wrap_signature(signature: Any, *, owner: Any, source: Path) -> Any:
    """Make a functional model that calls ``signature`` by its argument names."""
    keras = import_backend("keras")
    specs = signature.structured_input_signature[1]
    unknown = [name for name, spec in specs.items() if spec.shape.rank is None]
    if unknown or not specs:
        raise UnsupportedOpError(
            "the inputs of a SavedModel need a known number of dimensions",
            received=f"{source}, inputs: {', '.join(unknown) or 'none'}",
            remedy="save it again with a full input signature",
        )

    base: Any = keras.layers.Layer

    class SignatureLayer(base):  # type: ignore[misc]
        """Calls one signature of a SavedModel, and keeps the SavedModel alive."""

        def __init__(self) -> None:
            super().__init__(name="saved_model", dtype="float32", autocast=False)
            self.saved_model = owner

        def call(self, inputs: Mapping[str, Any]) -> Any:
            return signature(**inputs)

        def compute_output_spec(self, inputs: Mapping[str, Any]) -> Any:
            return {
                name: keras.KerasTensor(tuple(out.shape), dtype=out.dtype.name, name=name)
                for name, out in sorted(signature.structured_outputs.items())
            }

    inputs = {
        name: keras.Input(batch_shape=tuple(spec.shape), dtype=spec.dtype.name, name=name)
        for name, spec in sorted(specs.items())
    }
    return keras.Model(inputs, SignatureLayer()(inputs), name=source.stem)
