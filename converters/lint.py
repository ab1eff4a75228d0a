"""What is mended in a Keras model before it is converted, and what is refused.

Each trap was met in real models: a batch size left open (accelerators refuse the shape arithmetic
that follows from it), an open image size (TensorFlow Lite quietly makes it 1×1), mixed precision,
float64, training-only layers, Python lambdas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgevision.backends import import_backend
from edgevision.contract import Preprocessing
from edgevision.converters.frozen import name_inputs, translate_errors
from edgevision.errors import InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.specs import TensorSpec

_TRAINING_ONLY = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
)
_AUGMENTATIONS = ("Random", "AutoContrast", "AugMix", "CutMix", "MixUp", "RandAugment")
_OTHER_FLOATS = ("float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")
# Below this factor a Rescaling layer expects pixels 0–255, above it values 0–1.
_PIXEL_SCALE_LIMIT = 0.1
_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedModel:
    """A model that is ready to be traced.

    Attributes:
        model: The ``keras.Model``, all float32.
        inputs: Static shapes, in the order of ``model.inputs``.
        mended: What was changed, as short sentences.
        warnings: What a person should know.
        preprocessing: What the images must go through when the network normalizes them itself.
    """

    model: Any
    inputs: tuple[TensorSpec, ...]
    mended: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def lint_model(model: Any, *, input_size: tuple[int, int] | None = None) -> LintedModel:
    """Find and mend what makes a Keras model a bad device file.

    Args:
        model: A functional or sequential ``keras.Model``; it is not changed.
        input_size: (height, width) for a model that leaves its image size open.

    Raises:
        UnsupportedOpError: The model holds a Python lambda, is a subclass without fixed inputs, or
            takes text.
        InvalidModelError: The image size is open and ``input_size`` is missing.
        InvalidConfigError: ``input_size`` contradicts the model.
    """
    layers = list(walk_layers(model))
    _refuse_lambdas(layers)
    _require_inputs(model)
    model, mended = _mend_floats(model)
    inputs, fixed = _fix_shapes(model, input_size)
    mended += fixed + _note_training_layers(layers)
    augmentations = _name_layers(layers, _is_augmentation)
    warnings: tuple[str, ...] = ()
    if augmentations:
        warnings = (f"augmentation inside the model does nothing on a device: {augmentations}",)
    return LintedModel(
        model=model,
        inputs=inputs,
        mended=tuple(mended),
        warnings=warnings,
        preprocessing=_find_preprocessing(layers),
    )


def walk_layers(model: Any) -> Iterator[Any]:
    """Yield every layer of a model, those of nested models and wrappers too."""
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from walk_layers(layer)
        wrapped = getattr(layer, "layer", None)
        if wrapped is not None:
            yield wrapped
            yield from walk_layers(wrapped)


def _refuse_lambdas(layers: list[Any]) -> None:
    for layer in layers:
        if type(layer).__name__ == "Lambda":
            raise UnsupportedOpError(
                "Lambda layers hold Python code and are not converted",
                received=f"layer {layer.name}",
                remedy="replace the Lambda with built-in Keras layers",
            )


def _require_inputs(model: Any) -> None:
    if not getattr(model, "inputs", None):
        raise UnsupportedOpError(
            "a model needs fixed inputs to be converted",
            received=f"{type(model).__name__} {getattr(model, 'name', '')}".strip(),
            remedy="give it a keras.Input, or save it with model.export(folder) and convert that",
        )
    text = [tensor.name for tensor in model.inputs if tensor.dtype == "string"]
    if text:
        raise UnsupportedOpError(
            "a vision model takes numbers", received=f"text inputs: {', '.join(text)}"
        )


def _mend_floats(model: Any) -> tuple[Any, list[str]]:
    """Rebuild the model in float32, and with an open batch, where it is anything else."""
    kinds = sorted({p for p in _list_policies(model) if p in _OTHER_FLOATS})
    batches = sorted({t.shape[0] for t in model.inputs} - {None, 1})
    if not kinds and not batches:
        return model, []
    keras = import_backend("keras")
    with translate_errors("the model can not be rebuilt in float32 with batch size 1"):
        config = _rewrite_config(keras.saving.serialize_keras_object(model))
        rebuilt = keras.saving.deserialize_keras_object(config)
        rebuilt.set_weights([w.astype("float32") for w in model.get_weights()])
    notes = [f"{kind} arithmetic became float32" for kind in kinds]
    return rebuilt, notes + [f"batch size {batch} became open" for batch in batches]


def _list_policies(model: Any) -> Iterator[str]:
    for layer in (model, *walk_layers(model)):
        yield str(getattr(getattr(layer, "dtype_policy", None), "name", ""))
    for tensor in model.inputs:
        yield str(tensor.dtype)


def _rewrite_config(value: Any) -> Any:
    """Copy a serialized model with float32 policies and an open batch."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "DTypePolicy":
            return "float32" if value["config"]["name"] in _OTHER_FLOATS else value
        return {key: _rewrite_entry(key, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_rewrite_config(item) for item in value)
    return value


def _rewrite_entry(key: str, item: Any) -> Any:
    if key == "dtype" and item in _OTHER_FLOATS:
        return "float32"
    if key == "batch_shape" and item:
        return (None, *item[1:])
    return _rewrite_config(item)


def _fix_shapes(
    model: Any, input_size: tuple[int, int] | None
) -> tuple[tuple[TensorSpec, ...], list[str]]:
    specs, notes = [], []
    for name, tensor in zip(name_inputs(model), model.inputs, strict=True):
        shape = (1, *_fix_image_size(tuple(tensor.shape[1:]), tensor.name, input_size))
        specs.append(TensorSpec(name=name, shape=shape, dtype=str(tensor.dtype)))
        if None in tensor.shape[1:]:
            notes.append(f"input size fixed at {shape[1]}x{shape[2]}")
    if any(tensor.shape[0] is None for tensor in model.inputs):
        notes.insert(0, "batch size fixed at 1")
    return tuple(specs), notes


def _fix_image_size(
    shape: tuple[int | None, ...], name: str, input_size: tuple[int, int] | None
) -> tuple[int, ...]:
    is_image = len(shape) == _IMAGE_RANK - 1
    known = tuple(d for d in shape if d is not None)
    if len(known) == len(shape):
        if is_image and input_size not in (None, known[:2]):
            raise InvalidConfigError(
                "the model has a fixed input size",
                received=f"input_size={input_size}, the model takes {known[0]}x{known[1]}",
                remedy="leave the input size out, or build the model for the other size",
            )
        return known
    if not is_image or shape[2] is None:
        raise InvalidModelError(
            "an input leaves dimensions open that have no default",
            received=f"{name}: {shape}",
            remedy="save the model with a fixed input shape",
        )
    if input_size is None:
        raise InvalidModelError(
            "the model leaves its input size open",
            received=f"{name}: {shape}",
            remedy="say it with --input-size, for example --input-size 224",
        )
    height, width = shape[0] or input_size[0], shape[1] or input_size[1]
    return height, width, shape[2]


def _note_training_layers(layers: list[Any]) -> list[str]:
    names = _name_layers(layers, lambda layer: type(layer).__name__ in _TRAINING_ONLY)
    return [f"training-only layers left out: {names}"] if names else []


def _is_augmentation(layer: Any) -> bool:
    return type(layer).__name__.startswith(_AUGMENTATIONS)


def _name_layers(layers: list[Any], wanted: Any) -> str:
    counts = Counter(type(layer).__name__ for layer in layers if wanted(layer))
    return ", ".join(f"{count}x {name}" if count > 1 else name for name, count in counts.items())


def _find_preprocessing(layers: list[Any]) -> Preprocessing | None:
    """Tell what is left to do outside when the network starts by normalizing its input."""
    for layer in layers:
        kind = type(layer).__name__
        if kind in ("InputLayer", "Sequential", "Functional", "Resizing") or _is_augmentation(
            layer
        ):
            continue
        if kind == "Rescaling":
            return _range_of(is_pixels=abs(_largest(layer.scale)) < _PIXEL_SCALE_LIMIT)
        if kind == "Normalization":
            return _range_of(is_pixels=abs(_largest(layer.mean)) > 1)
        return None
    return None


def _range_of(*, is_pixels: bool) -> Preprocessing:
    return replace(Preprocessing(), mean=(0.0,), std=(1.0 if is_pixels else 255.0,))


def _largest(value: Any) -> float:
    import numpy as np

    return float(np.max(np.abs(np.asarray(value))))
