"""Reads Keras models and files into the ``Graph``: shapes and settings, no values.

The functional graph is walked as Keras itself walks it, with symbolic tensors of batch 1; nested
models are walked in place and shared layers appear once per use with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.errors import InvalidModelError, UnsupportedOpError, summarize
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.keras_files import load_keras_file
from edgevision.graph.keras_tables import (
    FUSED_FUNCTIONS,
    IDENTITIES,
    KINDS,
    name_function,
    read_function,
    read_pointwise_settings,
    read_settings,
)
from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat

_CALL_ERRORS = (ValueError, TypeError, AttributeError, KeyError, RuntimeError, NotImplementedError)


def read_keras(model_or_path: Any) -> Graph:
    """Read a Functional or Sequential Keras model.

    Layers that only act in training (dropout, augmentation) are no operations. Activations that
    converters do not fuse are operations of their own. Layers that compute more than one thing
    and are not taken apart here (attention, recurrent layers) are one operation of kind ``OTHER``
    or ``LSTM`` with all their weights.

    Args:
        model_or_path: A ``keras.Model``, or the path of a ``.keras`` or ``.h5`` file.

    Returns:
        The graph at batch 1; a dynamic batch stays -1 in the inputs only. Weights have no data.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: The file is damaged, or the model has no fixed graph.
        UnsupportedOpError: It holds a Python lambda, or is a subclassed model.
        BackendUnavailableError: TensorFlow is not installed.
    """
    if not isinstance(model_or_path, str | Path):
        return _read_model(model_or_path, ModelFormat.KERAS, 0)
    source = Path(model_or_path)
    model = load_keras_file(source)
    is_keras = source.suffix.lower() == ".keras"
    model_format = ModelFormat.KERAS if is_keras else ModelFormat.H5
    return _read_model(model, model_format, source.stat().st_size)


def _read_model(model: Any, model_format: ModelFormat, file_bytes: int) -> Graph:
    keras = import_backend("keras")
    function = _find_function(keras, model)
    if function is None:
        raise UnsupportedOpError(
            "only Functional and built Sequential models have a graph to read",
            received=f"{type(model).__name__} {getattr(model, 'name', '')}",
            remedy="build the model with keras.Model(inputs, outputs) or give it an Input",
        )
    reader = _Reader(keras)
    inputs = [reader.add_input(t) for t in function.inputs]
    try:
        outputs = reader.walk(function, inputs, ())
    except _CALL_ERRORS as error:
        raise InvalidModelError(
            "the model's shapes do not fit together at batch 1",
            received=f"{model.name}: {summarize(error)}",
        ) from error
    reader.add_weights(model.weights)
    return Graph(
        name=str(model.name),
        tensors=tuple(reader.tensors),
        ops=tuple(reader.ops),
        inputs=tuple(reader.index_of(t) for t in inputs),
        outputs=tuple(reader.index_of(t) for t in outputs),
        format=model_format,
        file_bytes=file_bytes,
    )


def _find_function(keras: Any, model: Any) -> Any:
    """Return what holds the nodes of a Functional or built Sequential model, else ``None``."""
    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    functional = type(keras.Model(*[keras.Input((1,), batch_size=1)] * 2))
    own_call = isinstance(model, functional) and type(model).call is not functional.call
    return model if isinstance(model, functional) and not own_call else None


class _Reader:
    """Collects tensors and operations while Keras's own graph is walked."""

    def __init__(self, keras: Any) -> None:
        self._keras = keras
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        # Symbolic tensors and variables are known by identity, so they must stay alive.
        self._indices: dict[int, int] = {}
        self._alive: list[Any] = []

    def index_of(self, tensor: Any) -> int:
        """Return the index of a symbolic tensor or variable that is already known."""
        return self._indices[id(tensor)]

    def add_input(self, tensor: Any) -> Any:
        """Declare an input of the model; return its stand-in of batch 1."""
        shape = tuple(-1 if d is None else int(d) for d in tensor.shape)
        fixed = (1, *tensor.shape[1:]) if shape and shape[0] < 0 else tensor.shape
        stand_in = self._keras.KerasTensor(fixed, dtype=tensor.dtype)
        self._remember(stand_in, Tensor(len(self.tensors), tensor.name, shape, str(tensor.dtype)))
        return stand_in

    def add_weights(self, variables: Sequence[Any]) -> list[int]:
        """Declare variables as constants, each once; return their indices."""
        for variable in variables:
            if id(variable) not in self._indices:
                tensor = Tensor(
                    index=len(self.tensors),
                    name=getattr(variable, "path", variable.name),
                    shape=tuple(int(d) for d in variable.shape),
                    dtype=str(variable.dtype),
                    constant=True,
                    trainable=bool(variable.trainable),
                )
                self._remember(variable, tensor)
        return [self._indices[id(v)] for v in variables]

    def walk(self, function: Any, inputs: Sequence[Any], path: tuple[str, ...]) -> list[Any]:
        """Record every operation of a function; return its output tensors."""
        outputs = function._run_through_graph(
            inputs, operation_fn=lambda operation: self._recorder(operation, path)
        )
        return list(self._keras.tree.flatten(outputs))

    def _recorder(self, operation: Any, path: tuple[str, ...]) -> Callable[..., Any]:
        """Return what stands in for an operation during the walk."""

        def record(*args: Any, **kwargs: Any) -> Any:
            inputs = self._find_tensors(args, kwargs)
            inner = _find_function(self._keras, operation)
            if inner is not None:
                spec = operation.compute_output_spec(*args)
                outputs = self.walk(inner, inputs, (*path, operation.name))
                return self._keras.tree.pack_sequence_as(spec, outputs)
            if _find_class(operation) in IDENTITIES or _is_linear(operation):
                return inputs[0]
            spec = operation.compute_output_spec(*args, **kwargs)
            self._record_operation(operation, inputs, spec, "/".join((*path, operation.name)))
            return spec

        return record

    def _find_tensors(self, args: Any, kwargs: Any) -> list[Any]:
        """Return the known tensors among the arguments of a call."""
        found = self._keras.tree.flatten((args, kwargs))
        return [t for t in found if id(t) in self._indices]

    def _record_operation(
        self, operation: Any, inputs: Sequence[Any], spec: Any, label: str
    ) -> None:
        class_name = _find_class(operation)
        kind = KINDS.get(class_name, OpKind.OTHER)
        outputs = self._keras.tree.flatten(spec)
        sources = [self.index_of(t) for t in inputs]
        weights = self.add_weights(getattr(operation, "weights", ()))
        attributes = read_settings(operation, kind, class_name)
        if class_name.startswith("Separable"):
            sources = [self._emit_depthwise(operation, sources, weights, outputs[0], label)]
            kind, weights = OpKind.CONV_2D, weights[1:]
            attributes = read_pointwise_settings(operation)
        function = _read_activation(operation, kind, class_name)
        if kind is OpKind.ACTIVATION and function == "softmax":
            kind, attributes, function = OpKind.SOFTMAX, {"axis": -1}, ""
        if function and (kind is OpKind.ACTIVATION or function in FUSED_FUNCTIONS):
            attributes["activation"], function = function, ""
        middle = self._add_like(outputs[0], f"{label}/linear") if function else -1
        written = [self._add_activation(t, label) for t in outputs]
        targets = [middle] if function else written
        self._emit(
            kind, class_name, (*sources, *weights), targets, attributes=attributes, label=label
        )
        if function:
            self._emit_function(function, middle, written[0], label)

    def _emit_depthwise(
        self, layer: Any, sources: list[int], weights: list[int], output: Any, label: str
    ) -> int:
        """Emit the first half of a separable convolution; return its output."""
        axis = 1 if layer.data_format == "channels_first" else -1
        shape = list(_read_shape(output))
        shape[axis] = self.tensors[sources[0]].shape[axis] * layer.depth_multiplier
        middle = len(self.tensors)
        self.tensors.append(Tensor(middle, f"{label}/depthwise", tuple(shape), str(output.dtype)))
        self._emit(
            OpKind.DEPTHWISE_CONV_2D,
            "DepthwiseConv2D",
            (sources[0], weights[0]),
            [middle],
            attributes=read_settings(layer, OpKind.DEPTHWISE_CONV_2D, "DepthwiseConv2D"),
            label=f"{label}/depthwise",
        )
        return middle

    def _emit_function(self, function: str, source: int, target: int, label: str) -> None:
        """Emit the activation of a layer as an operation of its own."""
        softmax = function == "softmax"
        kind = OpKind.SOFTMAX if softmax else OpKind.ACTIVATION
        attributes: dict[str, Any] = {"axis": -1} if softmax else {"activation": function}
        name = "Softmax" if softmax else "Activation"
        label = f"{label}/{function}"
        self._emit(kind, name, (source,), [target], attributes=attributes, label=label)

    def _emit(
        self,
        kind: OpKind,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        attributes: dict[str, Any],
        label: str,
    ) -> None:
        self.ops.append(
            Op(len(self.ops), kind, name, tuple(inputs), tuple(outputs), attributes, label)
        )

    def _add_activation(self, tensor: Any, label: str) -> int:
        shape = _read_shape(tensor)
        return self._remember(tensor, Tensor(len(self.tensors), label, shape, str(tensor.dtype)))

    def _add_like(self, tensor: Any, name: str) -> int:
        index = len(self.tensors)
        self.tensors.append(Tensor(index, name, _read_shape(tensor), str(tensor.dtype)))
        return index

    def _remember(self, key: Any, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        self._indices[id(key)] = tensor.index
        self._alive.append(key)
        return tensor.index


def _find_class(operation: Any) -> str:
    """Return the name of the nearest class in the tables; subclasses count as what they extend."""
    names = [c.__name__ for c in type(operation).__mro__]
    known = (n for n in names if n in KINDS or n in IDENTITIES or n.startswith("Separable"))
    return next(known, names[0])


def _is_linear(operation: Any) -> bool:
    return type(operation).__name__ == "Activation" and not name_function(operation.activation)


def _read_activation(operation: Any, kind: OpKind, class_name: str) -> str:
    """Return the function that an operation is or ends with; empty for none."""
    if kind is OpKind.ACTIVATION:
        return read_function(operation, class_name)
    if kind in (OpKind.OTHER, OpKind.LSTM):
        return ""
    return name_function(getattr(operation, "activation", None))


def _read_shape(tensor: Any) -> tuple[int, ...]:
    return tuple(-1 if d is None else int(d) for d in tensor.shape)
