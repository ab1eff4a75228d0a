"""A Keras model as one TensorFlow function with static shapes and constant weights.

Tracing with the final shapes removes the ``SHAPE``/``STRIDED_SLICE``/``PACK`` chains that a dynamic
batch leaves behind, and constant weights remove ``READ_VARIABLE``: both make a file that
accelerators refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgevision.backends import import_backend
from edgevision.converters.native_output import CapturedOutput, capture_output
from edgevision.errors import EdgeVisionError, InvalidModelError, UnsupportedOpError
from edgevision.specs import TensorSpec

if TYPE_CHECKING:
    import numpy as np

_AUTOMATIC_NAME = re.compile(r"^(keras_tensor|input_layer|input)(_?\d+)?$")
_NARROWED = {"int64": "int32", "float64": "float32", "float16": "float32", "bfloat16": "float32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenModel:
    """A model ready to be written in any format.

    Attributes:
        function: The TensorFlow function, without variables; inputs by position.
        inputs: Names, static shapes and dtypes.
        outputs: The same for the outputs.
        reference: Runs the Keras model itself on arrays by input name; outputs by name.
    """

    function: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reference: Any

    def run(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        """Run the Keras model (not the frozen function) on one batch."""
        with capture_output():
            return {name: value.numpy() for name, value in self.reference(**inputs).items()}


def freeze_model(model: Any, inputs: Sequence[TensorSpec]) -> FrozenModel:
    """Trace ``model`` for inference with the given static inputs.

    Args:
        model: A ``keras.Model``; its own inputs are fed in the order of ``model.inputs``.
        inputs: Static shape and dtype of each of them. An input that the model wants in another
            float type is cast.

    Returns:
        The frozen model; 64-bit outputs are narrowed to 32 bits, half floats widened.

    Raises:
        UnsupportedOpError: The model can not be traced.
    """
    return freeze_call(_make_call(model, inputs), inputs)


def freeze_call(call: Any, inputs: Sequence[TensorSpec]) -> FrozenModel:
    """Trace a function of TensorFlow tensors, given and returned by name.

    Args:
        call: Takes the inputs as keyword arguments, returns a dictionary.
        inputs: Static shape and dtype of each.

    Raises:
        UnsupportedOpError: TensorFlow can not trace it.
    """
    tf = import_backend("tensorflow")
    freeze = import_backend(
        "tensorflow.python.framework.convert_to_constants"
    ).convert_variables_to_constants_v2
    signature = {s.name: tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in inputs}
    with translate_errors("TensorFlow can not trace the model"):
        traced = tf.function(call, autograph=False).get_concrete_function(**signature)
        function = freeze(traced)
        order = [tensor.name.partition(":")[0] for tensor in function.inputs]
        outputs = tuple(_describe(n, t) for n, t in sorted(traced.structured_outputs.items()))
    ordered = tuple(sorted(inputs, key=lambda spec: order.index(spec.name)))
    return FrozenModel(function=function, inputs=ordered, outputs=outputs, reference=call)


def name_inputs(model: Any) -> list[str]:
    """Choose input names: the model's own where a person gave them, otherwise stable ones.

    Keras numbers unnamed inputs through the life of a process; such names would make two
    conversions of one model differ.
    """
    own = [make_identifier(tensor.name) for tensor in model.inputs]
    if all(_AUTOMATIC_NAME.match(name) for name in own) or len(set(own)) < len(own):
        return ["input"] if len(own) == 1 else [f"input_{i}" for i in range(len(own))]
    return own


def make_identifier(name: str) -> str:
    """Turn any tensor name into one that is a Python identifier, as signatures need it.

    >>> make_identifier("serving_default_image:0"), make_identifier("495")
    ('serving_default_image', 'tensor_495')
    """
    text = re.sub(r"\W+", "_", name.partition(":")[0]).strip("_")
    return text if text and not text[0].isdigit() else f"tensor_{text}"


def _make_call(model: Any, inputs: Sequence[TensorSpec]) -> Any:
    tf = import_backend("tensorflow")
    tree = import_backend("keras").tree
    names = [spec.name for spec in inputs]
    # Sequential models take one tensor and have no such structure.
    structure = getattr(model, "_inputs_struct", None)

    def call(**values: Any) -> dict[str, Any]:
        given = [
            tf.cast(values[name], tensor.dtype)
            for name, tensor in zip(names, model.inputs, strict=True)
        ]
        structured = tree.pack_sequence_as(structure, given) if structure is not None else given[0]
        results = model(structured, training=False)
        return {name: _narrow(tf, value) for name, value in _name_outputs(model, results)}

    return call


def _narrow(tf: Any, value: Any) -> Any:
    return tf.cast(value, _NARROWED.get(value.dtype.name, value.dtype.name))


def _name_outputs(model: Any, results: Any) -> list[tuple[str, Any]]:
    """Pair outputs with names: dictionary keys, the output layers' names, or plain numbers."""
    if isinstance(results, Mapping):
        return [(make_identifier(str(name)), value) for name, value in results.items()]
    values = import_backend("keras").tree.flatten(results)
    if len(values) == 1:
        return [("output", values[0])]
    names = [make_identifier(str(n)) for n in getattr(model, "output_names", None) or ()]
    if len(set(names)) != len(values):
        names = [f"output_{i}" for i in range(len(values))]
    return list(zip(names, values, strict=True))


def _describe(name: str, tensor: Any) -> TensorSpec:
    shape = tuple(-1 if d is None else int(d) for d in tensor.shape)
    return TensorSpec(name=name, shape=shape, dtype=tensor.dtype.name)


@contextmanager
def translate_errors(what: str) -> Iterator[CapturedOutput]:
    """Run TensorFlow quietly; turn whatever it raises into one clear line.

    Raises:
        UnsupportedOpError: TensorFlow named operations that it can not handle.
        InvalidModelError: Anything else that it refused.
    """
    tf = import_backend("tensorflow")
    refused = (ValueError, TypeError, RuntimeError, KeyError, AttributeError, NotImplementedError)
    with capture_output() as captured:
        try:
            yield captured
        except EdgeVisionError:
            raise
        except (*refused, AssertionError, tf.errors.OpError) as error:
            raise _explain(what, error) from error
        except Exception as error:
            # tf.lite's ConverterError derives from Exception alone.
            if type(error).__name__ != "ConverterError":
                raise
            raise _explain(what, error) from error


_OP_LISTS = re.compile(r"^(?:TF Select ops|Flex ops|Custom ops): *(.+)$", re.MULTILINE)


def _explain(what: str, error: Exception) -> EdgeVisionError:
    text = str(error)
    ops = sorted({op.strip() for found in _OP_LISTS.findall(text) for op in found.split(",")})
    if ops:
        return UnsupportedOpError(
            "the model uses operations that TensorFlow Lite does not have",
            received=", ".join(ops),
            remedy="replace them in the network; TensorFlow's own kernels are not shipped",
        )
    line = next((ln.strip() for ln in text.splitlines() if ln.strip()), type(error).__name__)
    return InvalidModelError(what, received=line[:300])
