"""Everything of ONNX that is not spatial, in TensorFlow: arithmetic, activations, shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.converters.onnx_spatial import (
    Attributes,
    Builder,
)
from edgevision.converters.onnx_values import (
    IMAGE_RANK,
    TO_FIRST,
    TO_LAST,
    Value,
    map_axis,
    permute,
    require,
    require_constant,
    reshape,
)
from edgevision.errors import UnsupportedOpError

Unary = Callable[[Any, Any, Attributes], Any]


def _hard_sigmoid(tf: Any, x: Any, attributes: Attributes) -> Any:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    if np.isclose(alpha, 1 / 6) and np.isclose(beta, 0.5):
        # The form that TensorFlow Lite recognizes as part of HARD_SWISH.
        return tf.nn.relu6(x + 3.0) * (1 / 6)
    return tf.clip_by_value(x * alpha + beta, 0.0, 1.0)


_UNARY: Mapping[str, Unary] = {
    "Relu": lambda tf, x, _: tf.nn.relu(x),
    "Sigmoid": lambda tf, x, _: tf.sigmoid(x),
    "Tanh": lambda tf, x, _: tf.tanh(x),
    "Exp": lambda tf, x, _: tf.exp(x),
    "Log": lambda tf, x, _: tf.math.log(x),
    "Sqrt": lambda tf, x, _: tf.sqrt(x),
    "Neg": lambda tf, x, _: -x,
    "Abs": lambda tf, x, _: tf.abs(x),
    "Floor": lambda tf, x, _: tf.floor(x),
    "Reciprocal": lambda tf, x, _: 1.0 / x,
    "Identity": lambda tf, x, _: tf.identity(x),
    "Dropout": lambda tf, x, _: tf.identity(x),
    "Elu": lambda tf, x, _: tf.nn.elu(x),
    "LeakyRelu": lambda tf, x, a: tf.nn.leaky_relu(x, a.get("alpha", 0.01)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda tf, x, _: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "Softplus": lambda tf, x, _: tf.math.softplus(x),
}
_BINARY = {
    "Add": "add",
    "Sub": "subtract",
    "Mul": "multiply",
    "Div": "divide",
    "Max": "maximum",
    "Min": "minimum",
    "Pow": "pow",
    "PRelu": "",
}
_REDUCE = {
    "ReduceMean": "reduce_mean",
    "ReduceSum": "reduce_sum",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
}


def _build_unary(function: Unary) -> Builder:
    def build(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
        source = require(inputs, 0)
        tf = import_backend("tensorflow")
        return [Value(function(tf, source.data, attributes), source.channels_last)]

    return build


def _build_binary(name: str) -> Builder:
    def build(inputs: Sequence[Value | None], _attributes: Attributes) -> list[Value]:
        values = [require(inputs, i) for i in range(len(inputs))]
        data, last = align(values)
        tf = import_backend("tensorflow")
        result = data[0]
        for other in data[1:]:
            result = getattr(tf, name)(result, other)
        return [Value(result, last)]

    return build


def align(values: Sequence[Value]) -> tuple[list[Any], bool]:
    """Bring values that are broadcast against each other into one order."""
    last = any(value.channels_last for value in values)
    return [value.last() if last else value.data for value in values], last


def _build_prelu(inputs: Sequence[Value | None], _attributes: Attributes) -> list[Value]:
    (x, slope), last = align([require(inputs, 0), require(inputs, 1)])
    tf = import_backend("tensorflow")
    return [Value(tf.nn.relu(x) - slope * tf.nn.relu(-x), last)]


def _build_clip(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    tf = import_backend("tensorflow")
    source = require(inputs, 0)
    limits = [attributes.get("min"), attributes.get("max")]
    for index in (1, 2):
        if index < len(inputs) and inputs[index] is not None:
            limits[index - 1] = float(require_constant(inputs, index, "a limit of Clip"))
    low, high = limits
    if (low, high) == (0.0, 6.0):
        return [Value(tf.nn.relu6(source.data), source.channels_last)]
    result = source.data
    result = result if low is None else tf.maximum(result, np.float32(low))
    result = result if high is None else tf.minimum(result, np.float32(high))
    return [Value(result, source.channels_last)]


def _build_batch_norm(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    source = require(inputs, 0)
    scale, shift, mean, variance = (
        require_constant(inputs, i, "batch normalization") for i in range(1, 5)
    )
    factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    offset = shift - mean * factor
    if source.rank == IMAGE_RANK:
        return [Value(source.last() * factor + offset, channels_last=True)]
    return [Value(source.data * factor + offset)]


def _build_softmax(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    source = require(inputs, 0)
    axis = map_axis(attributes.get("axis", -1), source)
    if attributes["opset"] < 13 and source.rank != 2:
        raise UnsupportedOpError(
            "Softmax of several axes at once is not converted",
            received=f"opset {attributes['opset']}",
            remedy="export with opset 13 or later",
        )
    return [Value(import_backend("tensorflow").nn.softmax(source.data, axis), source.channels_last)]


def _build_reduce(name: str) -> Builder:
    def build(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
        source = require(inputs, 0)
        axes = attributes.get("axes")
        if axes is None and len(inputs) > 1 and inputs[1] is not None:
            axes = [int(a) for a in require_constant(inputs, 1, "axes")]
        axes = list(range(source.rank)) if axes is None else [a % source.rank for a in axes]
        keep = bool(attributes.get("keepdims", 1))
        function = getattr(import_backend("tensorflow"), name)
        if source.channels_last and (keep or {2, 3} <= set(axes)):
            stored = [map_axis(a, source) for a in axes]
            return [Value(function(source.data, axis=stored, keepdims=keep), keep)]
        return [Value(function(source.first(), axis=axes, keepdims=keep))]

    return build


def _build_gemm(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    tf = import_backend("tensorflow")
    product = tf.matmul(
        require(inputs, 0).first(),
        require(inputs, 1).first(),
        transpose_a=bool(attributes.get("transA", 0)),
        transpose_b=bool(attributes.get("transB", 0)),
    )
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    product = product if alpha == 1 else product * alpha
    if len(inputs) > 2 and inputs[2] is not None:
        bias = inputs[2].data
        product = product + (bias if beta == 1 else bias * np.float32(beta))
    return [Value(product)]


def _build_matmul(inputs: Sequence[Value | None], _attributes: Attributes) -> list[Value]:
    tf = import_backend("tensorflow")
    return [Value(tf.matmul(require(inputs, 0).first(), require(inputs, 1).first()))]


def _build_reshape(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    """Reshape, Flatten, Squeeze and Unsqueeze: the result's shape is known beforehand."""
    return [Value(reshape(require(inputs, 0).first(), attributes["result_shape"]))]


def _build_transpose(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    source = require(inputs, 0)
    axes = tuple(attributes.get("perm", range(source.rank)[::-1]))
    if source.channels_last and axes == TO_LAST:
        return [Value(source.data)]
    if not source.channels_last and axes == TO_FIRST:
        return [Value(source.data, channels_last=True)]
    return [Value(permute(source.first(), axes))]


def _build_concat(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    values = [require(inputs, i) for i in range(len(inputs))]
    data, last = align(values)
    axis = map_axis(attributes["axis"], Value(data[0], last))
    return [Value(import_backend("tensorflow").concat(data, axis), last)]


def _build_split(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    source = require(inputs, 0)
    axis = attributes.get("axis", 0) % source.rank
    sizes: Any = attributes.get("split")
    if sizes is None and len(inputs) > 1 and inputs[1] is not None:
        sizes = [int(n) for n in require_constant(inputs, 1, "sizes")]
    if sizes is None:
        count = attributes["num_results"]
        step = -(-source.shape[axis] // count)
        sizes = [min(step, source.shape[axis] - i * step) for i in range(count)]
    parts = import_backend("tensorflow").split(source.data, sizes, axis=map_axis(axis, source))
    return [Value(part, source.channels_last) for part in parts]


def _build_slice(inputs: Sequence[Value | None], attributes: Attributes) -> list[Value]:
    source = require(inputs, 0)
    given = {
        name: require_constant(inputs, index, name)
        for index, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
        if index < len(inputs) and inputs[index] is not None
    }
    given = {**{k: v for k, v in attributes.items() if k in ("starts", "ends", "axes")}, **given}
    axes = given.get("axes", range(len(given["starts"])))
    steps = given.get("steps", [1] * len(given["starts"]))
    cuts = [slice(None)] * source.rank
    for axis, start, end, step in zip(axes, given["starts"], given["ends"], steps, strict=True):
        if step < 1:
            raise UnsupportedOpError("Slice backwards is not converted", received=f"step={step}")
        span = range(source.shape[int(axis)])[int(start) : int(end)]
        cuts[map_axis(int(axis), source)] = slice(span.start, span.stop, int(step))
    return [Value(source.data[tuple(cuts)], source.channels_last)]


POINTWISE_BUILDERS: Mapping[str, Builder] = {
    **{name: _build_unary(function) for name, function in _UNARY.items()},
    **{name: _build_binary(function) for name, function in _BINARY.items()},
    **{name: _build_reduce(function) for name, function in _REDUCE.items()},
    "PRelu": _build_prelu,
    "Clip": _build_clip,
    "BatchNormalization": _build_batch_norm,
    "Softmax": _build_softmax,
    "Gemm": _build_gemm,
    "MatMul": _build_matmul,
    "Reshape": _build_reshape,
    "Flatten": _build_reshape,
    "Squeeze": _build_reshape,
    "Unsqueeze": _build_reshape,
    "Transpose": _build_transpose,
    "Concat": _build_concat,
    "Split": _build_split,
    "Slice": _build_slice,
}
