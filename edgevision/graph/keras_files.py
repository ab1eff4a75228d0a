"""Loading Keras model files: ``.keras``, and ``.h5`` of Keras 3 and of Keras 2.

Keras 3 refuses most ``.h5`` files of Keras 2: ``DepthwiseConv2D`` carries a ``groups`` key that
is gone, and sizes are lists where tuples are expected. Both are mended while the file is read.
Python lambdas are code from a stranger and stay refused, in every format and at every depth.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.errors import (
    InvalidModelError,
    MissingFileError,
    UnsupportedOpError,
    summarize,
)
from edgevision.graph.archives import read_file
from edgevision.graph.reader import sniff_format
from edgevision.specs import ModelFormat

_H5_SUFFIXES = (".h5", ".hdf5")
# What Keras raises for a damaged or foreign file differs from layer to layer.
_LOAD_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    OSError,
    EOFError,
    RuntimeError,
    ImportError,
    zipfile.BadZipFile,
)
# Keys that Keras 2 wrote and Keras 3 no longer takes, by layer class.
_DROPPED_KEYS: Mapping[str, tuple[str, ...]] = {"DepthwiseConv2D": ("groups",)}
_TUPLE_KEYS = ("kernel_size", "strides", "dilation_rate", "pool_size", "size", "target_shape")


def load_keras_file(path: str | Path) -> Any:
    """Load a Keras model, uncompiled.

    A SavedModel folder is not a Keras model to Keras 3 and is refused; the converters read it.

    Args:
        path: A ``.keras``, ``.h5`` or ``.hdf5`` file.

    Returns:
        The ``keras.Model``.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is not a whole Keras model file.
        UnsupportedOpError: It holds a Python lambda or a layer that Keras does not know.
        BackendUnavailableError: TensorFlow is not installed.
    """
    source = Path(path)
    config = read_keras_config(source)
    refuse_lambdas(config, source)
    keras = import_backend("keras")
    try:
        return keras.models.load_model(
            str(source), custom_objects=_mended_classes(keras, config), compile=False
        )
    except _LOAD_ERRORS as error:
        raise _explain_failure(source, config, error) from error


def read_keras_config(path: str | Path) -> Mapping[str, Any]:
    """Read the architecture of a Keras file without building it.

    Args:
        path: A ``.keras``, ``.h5`` or ``.hdf5`` file.

    Returns:
        The serialized model as Keras wrote it (``class_name`` and ``config``).

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is not a Keras model file, or holds weights only.
    """
    source = Path(path)
    if source.is_dir():
        raise _refuse_folder(source)
    if not source.is_file():
        raise MissingFileError(
            "there is no such model file", received=source, remedy="check the path"
        )
    content = sniff_format(source)
    if content is ModelFormat.H5:
        return _parse_config(source, _read_h5_config(source))
    if content is ModelFormat.KERAS:
        return _parse_config(source, _read_zip_config(source))
    raise InvalidModelError("not a Keras model file", received=source)


def list_layer_configs(config: object, class_name: str) -> list[Mapping[str, Any]]:
    """List the settings of every layer of a class in an architecture, at any depth.

    >>> list_layer_configs({"class_name": "ReLU", "config": {"max_value": 6}}, "ReLU")
    [{'max_value': 6}]
    """
    found = (inner for name, inner in _walk_classes(config) if name == class_name)
    return [inner for inner in found if isinstance(inner, Mapping)]


def refuse_lambdas(config: object, source: str | Path) -> None:
    """Refuse an architecture that holds Python code, at any depth.

    Raises:
        UnsupportedOpError: There is a Lambda layer or a serialized Python lambda.
    """
    for name, inner in _walk_classes(config):
        if name in ("Lambda", "__lambda__"):
            label = inner.get("name", name) if isinstance(inner, Mapping) else name
            raise UnsupportedOpError(
                "Lambda layers hold Python code from the file and are not run",
                received=f"{source}, layer {label}",
                remedy="replace the Lambda with built-in Keras layers and save the model again",
            )


def _walk_classes(config: object) -> Iterator[tuple[str, object]]:
    """Yield (class name, config) of every serialized object in a configuration tree."""
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("class_name"), str):
                yield value["class_name"], value.get("config")
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)


def _read_h5_config(source: Path) -> str | bytes:
    h5py = import_backend("h5py")
    try:
        with h5py.File(source, "r") as file:
            text = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError) as error:
        raise InvalidModelError("a damaged HDF5 file", received=f"{source}: {error}") from error
    if text is None:
        raise InvalidModelError(
            "the file holds weights only, not a model",
            received=source,
            remedy="save the whole model with model.save(), or pass it as weights",
        )
    return text  # type: ignore[no-any-return]


def _read_zip_config(source: Path) -> bytes:
    content = read_file(source, "config.json")
    if content is None:
        raise InvalidModelError(
            "not a whole .keras file", received=source, remedy="copy or save it again"
        )
    return content


def _parse_config(source: Path, text: str | bytes) -> Mapping[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, TypeError) as error:
        raise InvalidModelError("a damaged Keras model file", received=source) from error
    if not isinstance(config, Mapping) or "class_name" not in config:
        raise InvalidModelError("not a Keras model file", received=source)
    return config


def _mended_classes(keras: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Map each layer class whose Keras 2 configuration needs mending to a mending factory."""
    return {
        name: _mending_factory(getattr(keras.layers, name))
        for name, inner in _walk_classes(config)
        if isinstance(inner, Mapping)
        and hasattr(keras.layers, name)
        and _needs_mending(name, inner)
    }


def _needs_mending(name: str, config: Mapping[str, Any]) -> bool:
    return any(k in config for k in _DROPPED_KEYS.get(name, ())) or any(
        isinstance(config.get(k), list) for k in _TUPLE_KEYS
    )


def _mending_factory(layer_class: Any) -> type:
    """Make a stand-in whose ``from_config`` mends the configuration and builds the real layer.

    A subclass would do as well, but would be written into files saved later, which then could not
    be read without it.
    """

    def from_config(cls: type, config: Mapping[str, Any]) -> Any:
        dropped = _DROPPED_KEYS.get(layer_class.__name__, ())
        return layer_class.from_config(
            {
                key: tuple(value) if key in _TUPLE_KEYS and isinstance(value, list) else value
                for key, value in config.items()
                if key not in dropped
            }
        )

    return type(layer_class.__name__, (), {"from_config": classmethod(from_config)})


def _explain_failure(
    source: Path, config: Mapping[str, Any], error: Exception
) -> InvalidModelError | UnsupportedOpError:
    if source.suffix.lower() not in (".keras", *_H5_SUFFIXES):
        return InvalidModelError(
            "Keras chooses the format by the file name",
            received=source,
            remedy="rename it to .keras (zip) or .h5 (HDF5)",
        )
    foreign = next(_find_foreign_layers(config), None)
    if foreign is not None:
        return UnsupportedOpError(
            "the model holds a layer that Keras does not know",
            received=f"{source}: {foreign}",
            remedy="build it from Keras layers, or convert it where it was made",
        )
    return InvalidModelError(
        "Keras can not load the file", received=f"{source}: {summarize(error)}"
    )


def _find_foreign_layers(config: object) -> Iterator[str]:
    """Yield the class names of layers that are not part of Keras, at any depth."""
    for _, inner in _walk_classes(config):
        layers = inner.get("layers", ()) if isinstance(inner, Mapping) else ()
        for layer in layers if isinstance(layers, list) else ():
            if isinstance(layer, Mapping) and not _is_from_keras(layer):
                yield str(layer.get("class_name"))


def _is_from_keras(layer: Mapping[str, Any]) -> bool:
    if str(layer.get("module") or "").split(".")[0] == "keras":
        return True
    name = str(layer.get("class_name"))
    return name in _MODEL_CLASSES or hasattr(import_backend("keras").layers, name)


_MODEL_CLASSES = ("Functional", "Model", "Sequential")


def _refuse_folder(source: Path) -> InvalidModelError:
    if (source / "saved_model.pb").is_file():
        return InvalidModelError(
            "Keras 3 can not open a SavedModel folder as a model",
            received=source,
            remedy="convert the folder to .tflite or .onnx first (edgevision convert)",
        )
    return InvalidModelError("a folder is not a Keras model", received=source)
