"""The second reading of a network: shapes only, into a ``Graph``. No TensorFlow, no NumPy.

A planner asks thousands of "what would it cost" questions, so one primitive here is a few list
appends: weights are tensors without data, batch is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.models.net import (
    Activation,
    Interpolation,
    Margins,
    Padding,
    Pair,
    PoolKind,
    as_pair,
)


class GraphNet:
    """Builds a ``Graph`` from the primitives of ``Net``.

    >>> net = GraphNet()
    >>> image = net.input((224, 224, 3), name="image")
    >>> net.shape_of(net.conv(image, 32, 3, stride=2, name="stem"))
    (112, 112, 32)
    """

    __slots__ = ("_inputs", "_ops", "_tensors")

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._ops: list[Op] = []
        self._inputs: list[int] = []

    def build_graph(self, name: str, outputs: Tensor | Mapping[str, Tensor]) -> Graph:
        """Close the network: everything declared so far, ending in ``outputs``."""
        named = {outputs.name: outputs} if isinstance(outputs, Tensor) else outputs
        ins = {self._tensors[i].name: i for i in self._inputs}
        outs = {key: t.index for key, t in named.items()}
        return Graph(
            name=name,
            tensors=tuple(self._tensors),
            ops=tuple(self._ops),
            inputs=tuple(self._inputs),
            outputs=tuple(outs.values()),
            signatures={"serving_default": (ins, outs)},
        )

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """Return the shape without the batch."""
        return x.shape[1:]

    def input(self, shape: tuple[int, ...], *, name: str) -> Tensor:
        """Declare an input; the batch is 1."""
        tensor = Tensor(len(self._tensors), name, (1, *shape))
        self._tensors.append(tensor)
        self._inputs.append(tensor.index)
        return tensor

    def conv(
        self,
        x: Tensor,
        filters: int,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Padding = Padding.SAME,
        groups: int = 1,
        use_bias: bool = True,
    ) -> Tensor:
        """Emit a convolution; kernel weights are ``(height, width, in / groups, out)``."""
        attributes = _window(kernel, stride, dilation, padding, groups)
        _, height, width, channels = x.shape
        shape = (1, *_slide(height, width, attributes, name), filters)
        inputs = [
            x.index,
            self._weight(f"{name}/kernel", (*attributes["kernel"], channels // groups, filters)),
        ]
        if use_bias:
            inputs.append(self._weight(f"{name}/bias", (filters,)))
        return self._emit(OpKind.CONV_2D, "Conv2D", inputs, shape, attributes, label=name)

    def depthwise_conv(
        self,
        x: Tensor,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 1,
        dilation: Pair = 1,
        padding: Padding = Padding.SAME,
        multiplier: int = 1,
        use_bias: bool = True,
    ) -> Tensor:
        """Emit a depthwise convolution; kernel weights are ``(height, width, in, multiplier)``."""
        _, height, width, channels = x.shape
        attributes = _window(kernel, stride, dilation, padding, channels)
        filters = channels * multiplier
        shape = (1, *_slide(height, width, attributes, name), filters)
        inputs = [
            x.index,
            self._weight(f"{name}/kernel", (*attributes["kernel"], channels, multiplier)),
        ]
        if use_bias:
            inputs.append(self._weight(f"{name}/bias", (filters,)))
        kind = OpKind.DEPTHWISE_CONV_2D
        return self._emit(kind, "DepthwiseConv2D", inputs, shape, attributes, label=name)

    def transpose_conv(
        self,
        x: Tensor,
        filters: int,
        kernel: Pair,
        *,
        name: str,
        stride: Pair = 2,
        padding: Padding = Padding.SAME,
        use_bias: bool = True,
    ) -> Tensor:
        """Emit a transposed convolution; kernel weights are ``(height, width, out, in)``."""
        attributes = _window(kernel, stride, 1, padding)
        _, height, width, channels = x.shape
        size = _unslide(height, width, attributes)
        inputs = [
            x.index,
            self._weight(f"{name}/kernel", (*attributes["kernel"], filters, channels)),
        ]
        if use_bias:
            inputs.append(self._weight(f"{name}/bias", (filters,)))
        kind = OpKind.TRANSPOSE_CONV_2D
        return self._emit(
            kind, "Conv2DTranspose", inputs, (1, *size, filters), attributes, label=name
        )

    def conv_each(
        self,
        maps: Sequence[Tensor],
        filters: int,
        kernel: Pair,
        *,
        name: str,
        use_bias: bool = True,
    ) -> list[Tensor]:
        """Emit a convolution per map; all of them read the same weights."""
        attributes = _window(kernel, 1, 1, Padding.SAME)
        weights = [self._weight(f"{name}/kernel", (*as_pair(kernel), maps[0].shape[-1], filters))]
        if use_bias:
            weights.append(self._weight(f"{name}/bias", (filters,)))
        kind = OpKind.CONV_2D
        return [
            self._emit(
                kind,
                "Conv2D",
                (x.index, *weights),
                (*x.shape[:-1], filters),
                attributes,
                label=name,
            )
            for x in maps
        ]

    def depthwise_conv_each(
        self, maps: Sequence[Tensor], kernel: Pair, *, name: str, use_bias: bool = True
    ) -> list[Tensor]:
        """Emit a depthwise convolution per map; all of them read the same weights."""
        channels = maps[0].shape[-1]
        attributes = _window(kernel, 1, 1, Padding.SAME, channels)
        weights = [self._weight(f"{name}/kernel", (*as_pair(kernel), channels, 1))]
        if use_bias:
            weights.append(self._weight(f"{name}/bias", (channels,)))
        kind = OpKind.DEPTHWISE_CONV_2D
        return [
            self._emit(
                kind, "DepthwiseConv2D", (x.index, *weights), x.shape, attributes, label=name
            )
            for x in maps
        ]

    def batch_norm(
        self, x: Tensor, *, name: str, momentum: float = 0.99, epsilon: float = 1e-3
    ) -> Tensor:
        """Emit a normalization with its four vectors, of which the statistics are not trained."""
        tensors = self._tensors
        index = len(tensors)
        shape = x.shape[-1:]
        tensors += (
            Tensor(index, f"{name}/gamma", shape, "float32", None, True),
            Tensor(index + 1, f"{name}/beta", shape, "float32", None, True),
            Tensor(index + 2, f"{name}/moving_mean", shape, "float32", None, True, False),
            Tensor(index + 3, f"{name}/moving_variance", shape, "float32", None, True, False),
        )
        inputs = (x.index, index, index + 1, index + 2, index + 3)
        attributes = {"epsilon": epsilon}
        return self._emit(
            OpKind.BATCH_NORM, "BatchNormalization", inputs, x.shape, attributes, label=name
        )

    def activation(self, x: Tensor, function: Activation, *, name: str) -> Tensor:
        """Emit one operation, whatever the function; ``linear`` emits nothing."""
        if function is Activation.LINEAR:
            return x
        if function is Activation.SOFTMAX:
            return self._emit(
                OpKind.SOFTMAX, "Softmax", (x.index,), x.shape, {"axis": -1}, label=name
            )
        attributes = _ACTIVATIONS[function]
        return self._emit(
            OpKind.ACTIVATION, "Activation", (x.index,), x.shape, attributes, label=name
        )

    def zero_pad(self, x: Tensor, margins: Margins, *, name: str) -> Tensor:
        """Emit a padding."""
        (top, bottom), (left, right) = margins
        _, height, width, channels = x.shape
        shape = (1, height + top + bottom, width + left + right, channels)
        attributes = {"padding": (top, bottom, left, right)}
        return self._emit(OpKind.PAD, "ZeroPadding2D", (x.index,), shape, attributes, label=name)

    def global_pool(
        self, x: Tensor, *, name: str, kind: PoolKind = PoolKind.AVERAGE, keepdims: bool = False
    ) -> Tensor:
        """Emit a pooling over all pixels."""
        channels = x.shape[-1]
        shape = (1, 1, 1, channels) if keepdims else (1, channels)
        reduction = "mean" if kind is PoolKind.AVERAGE else "max"
        attributes = {"reduction": reduction, "axes": (1, 2), "keep_dims": keepdims}
        op = "GlobalAveragePooling2D" if kind is PoolKind.AVERAGE else "GlobalMaxPooling2D"
        return self._emit(OpKind.GLOBAL_POOL, op, (x.index,), shape, attributes, label=name)

    def max_pool(
        self, x: Tensor, size: Pair, *, name: str, stride: Pair, padding: Padding = Padding.VALID
    ) -> Tensor:
        """Emit a max pooling."""
        window = _window(size, stride, 1, padding)
        return self._pool(x, OpKind.MAX_POOL, "MaxPooling2D", window, name)

    def avg_pool(
        self, x: Tensor, size: Pair, *, name: str, stride: Pair, padding: Padding = Padding.VALID
    ) -> Tensor:
        """Emit an average pooling."""
        window = _window(size, stride, 1, padding)
        return self._pool(x, OpKind.AVERAGE_POOL, "AveragePooling2D", window, name)

    def dense(self, x: Tensor, units: int, *, name: str, use_bias: bool = True) -> Tensor:
        """Emit a matrix product; weights are ``(in, out)``."""
        inputs = [x.index, self._weight(f"{name}/kernel", (x.shape[-1], units))]
        if use_bias:
            inputs.append(self._weight(f"{name}/bias", (units,)))
        shape = (*x.shape[:-1], units)
        return self._emit(OpKind.FULLY_CONNECTED, "Dense", inputs, shape, {}, label=name)

    def dropout(self, x: Tensor, rate: float, *, name: str) -> Tensor:
        """Emit nothing: at inference there is no dropout."""
        return x

    def add(self, values: Sequence[Tensor], *, name: str) -> Tensor:
        """Emit an addition."""
        return self._combine(values, OpKind.ADD, "Add", name)

    def multiply(self, values: Sequence[Tensor], *, name: str) -> Tensor:
        """Emit a multiplication."""
        return self._combine(values, OpKind.MUL, "Multiply", name)

    def concat(self, values: Sequence[Tensor], *, name: str, axis: int = -1) -> Tensor:
        """Emit a concatenation."""
        first = values[0].shape
        axis %= len(first)
        total = sum(v.shape[axis] for v in values)
        shape = (*first[:axis], total, *first[axis + 1 :])
        inputs = [v.index for v in values]
        return self._emit(OpKind.CONCAT, "Concatenate", inputs, shape, {"axis": axis}, label=name)

    def resize(
        self,
        x: Tensor,
        size: tuple[int, int],
        *,
        name: str,
        interpolation: Interpolation = Interpolation.BILINEAR,
    ) -> Tensor:
        """Emit a resize."""
        shape = (1, *size, x.shape[-1])
        attributes = {
            "mode": interpolation.value,
            "half_pixel_centers": True,
            "align_corners": False,
        }
        return self._emit(OpKind.RESIZE, "Resizing", (x.index,), shape, attributes, label=name)

    def reshape(self, x: Tensor, shape: tuple[int, ...], *, name: str) -> Tensor:
        """Emit a reshape."""
        known = prod(d for d in shape if d >= 0)
        full = tuple(x.size // max(known, 1) if d < 0 else d for d in shape)
        if prod(full) != x.size:
            raise InvalidConfigError(
                "a reshape keeps the number of values", received=f"{name}: {x.shape} to {shape}"
            )
        return self._emit(OpKind.RESHAPE, "Reshape", (x.index,), (1, *full), {}, label=name)

    def flatten(self, x: Tensor, *, name: str) -> Tensor:
        """Emit a reshape to ``(values,)``."""
        return self._emit(OpKind.RESHAPE, "Flatten", (x.index,), (1, x.size), {}, label=name)

    def rescale(self, x: Tensor, *, name: str, scale: float, offset: float = 0.0) -> Tensor:
        """Emit an element-wise operation."""
        attributes = {"scale": scale, "offset": offset}
        return self._emit(
            OpKind.ELEMENTWISE, "Rescaling", (x.index,), x.shape, attributes, label=name
        )

    def _pool(
        self, x: Tensor, kind: OpKind, op: str, window: Mapping[str, Any], name: str
    ) -> Tensor:
        _, height, width, channels = x.shape
        shape = (1, *_slide(height, width, window, name), channels)
        return self._emit(kind, op, (x.index,), shape, window, label=name)

    def _combine(self, values: Sequence[Tensor], kind: OpKind, op: str, name: str) -> Tensor:
        shapes = {v.shape for v in values}
        shape = next(iter(shapes)) if len(shapes) == 1 else _broadcast(shapes, name)
        return self._emit(kind, op, [v.index for v in values], shape, {}, label=name)

    def _weight(self, name: str, shape: tuple[int, ...]) -> int:
        index = len(self._tensors)
        self._tensors.append(Tensor(index, name, shape, "float32", None, True))
        return index

    def _emit(
        self,
        kind: OpKind,
        op: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        attributes: Mapping[str, Any],
        *,
        label: str,
    ) -> Tensor:
        index = len(self._tensors)
        tensor = Tensor(index, label, shape)
        self._tensors.append(tensor)
        ops = self._ops
        ops.append(Op(len(ops), kind, op, tuple(inputs), (index,), attributes, label))
        return tensor


_ACTIVATIONS = {function: {"activation": function.value} for function in Activation}


@lru_cache(maxsize=1024)
def _window(
    kernel: Pair, stride: Pair, dilation: Pair, padding: Padding, groups: int = 1
) -> Mapping[str, Any]:
    """Return the attributes of a sliding window; equal windows share them, read-only."""
    return MappingProxyType(
        {
            "kernel": as_pair(kernel),
            "strides": as_pair(stride),
            "dilations": as_pair(dilation),
            "padding": padding.value,
            "groups": groups,
        }
    )


def _slide(height: int, width: int, window: Mapping[str, Any], name: str) -> tuple[int, int]:
    """Return the output size of a sliding window, TensorFlow's arithmetic."""
    down, right = window["strides"]
    if window["padding"] == "same":
        return -(-height // down), -(-width // right)
    (kernel_h, kernel_w), (dilate_h, dilate_w) = window["kernel"], window["dilations"]
    rows = (height - dilate_h * (kernel_h - 1) - 1) // down + 1
    columns = (width - dilate_w * (kernel_w - 1) - 1) // right + 1
    if rows < 1 or columns < 1:
        raise InvalidConfigError(
            "the feature map is smaller than the window that slides over it",
            received=f"{name}: {height}x{width}",
            remedy="use a larger input",
        )
    return rows, columns


def _unslide(height: int, width: int, window: Mapping[str, Any]) -> tuple[int, int]:
    """Return the output size of a transposed convolution, Keras's arithmetic."""
    (down, right), (kernel_h, kernel_w) = window["strides"], window["kernel"]
    if window["padding"] == "same":
        return height * down, width * right
    return height * down + max(kernel_h - down, 0), width * right + max(kernel_w - right, 0)


def _broadcast(shapes: set[tuple[int, ...]], name: str) -> tuple[int, ...]:
    """Return the common shape of tensors whose sizes are equal or 1."""
    if len({len(s) for s in shapes}) == 1:
        sizes = [set(column) - {1} for column in zip(*shapes, strict=True)]
        if all(len(s) <= 1 for s in sizes):
            return tuple(s.pop() if s else 1 for s in sizes)
    raise InvalidConfigError(
        "these shapes do not combine", received=f"{name}: {', '.join(map(str, sorted(shapes)))}"
    )
