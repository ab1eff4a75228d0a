"""Layers of ONNX networks as the repair steps see them: channels last, weights as TFLite has them.

ONNX keeps channels first and weights as (output, input, height, width). Here both are turned, and
margins become part of the input, so that the algorithms for ``.tflite`` files serve as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Op
from edgevision.graph.ops import OpKind

Array = np.ndarray[Any, Any]

WEIGHTED = ("Conv", "Gemm", "MatMul")
_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxLayer:
    """One node with constant weights.

    Attributes:
        node: The node of the float model.
        op: The same as an operation in TFLite's terms, without margins.
        weights: Float weights in TFLite's layout.
        bias: (O,) float64, zeros where the node has none.
    """

    node: Any
    op: Op
    weights: Array
    bias: Array

    @property
    def has_bias(self) -> bool:
        """Whether there is a place to store a bias."""
        return len(self.node.input) > 2 and bool(self.node.input[2])


def find_onnx_layers(model: Any) -> list[OnnxLayer]:
    """List the convolutions and dense layers with constant weights, in order.

    Args:
        model: ``ModelProto`` of a float model.
    """
    from onnx import numpy_helper

    constants = {t.name: t for t in model.graph.initializer}
    found = []
    for index, node in enumerate(model.graph.node):
        if node.op_type not in WEIGHTED or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        layer = _describe(index, node, weights)
        if layer is None:
            continue
        has_bias = len(node.input) > 2 and node.input[2] in constants
        count = weights.shape[0] if node.op_type == "Conv" else layer[1].shape[0]
        bias = numpy_helper.to_array(constants[node.input[2]]) if has_bias else np.zeros(count)
        found.append(
            OnnxLayer(
                node=node,
                op=layer[0],
                weights=layer[1],
                bias=np.array(bias, np.float64).ravel(),
            )
        )
    return found


def turn_inputs(layer: OnnxLayer, values: Array) -> Array:
    """Bring a layer's input into the form of its operation: channels last, with its margins.

    Args:
        layer: The layer.
        values: (N, C, H, W) for a convolution, (N, C) for a dense layer.

    Returns:
        (N, H, W, C) with zeros around, or (N, C).
    """
    if layer.op.kind is OpKind.FULLY_CONNECTED:
        return values.reshape(-1, values.shape[-1])
    top, left, bottom, right = _find_margins(layer.node, values.shape[2:])
    turned = values.transpose(0, 2, 3, 1)
    return np.pad(turned, ((0, 0), (top, bottom), (left, right), (0, 0)))


def count_outputs(layer: OnnxLayer, inputs: Array) -> tuple[int, ...]:
    """Return the shape of a layer's output for turned inputs."""
    if layer.op.kind is OpKind.FULLY_CONNECTED:
        return (len(inputs), len(layer.bias))
    sizes = []
    for axis in (0, 1):
        reach = (layer.weights.shape[1 + axis] - 1) * layer.op.attributes["dilations"][axis] + 1
        sizes.append((inputs.shape[1 + axis] - reach) // layer.op.attributes["strides"][axis] + 1)
    return (len(inputs), *sizes, len(layer.bias))


def turn_weights(node: Any, weights: Array) -> Array:
    """Bring weights from ONNX's layout into TFLite's.

    >>> turn_weights(None, np.zeros((8, 3, 5, 6))).shape
    (8, 5, 6, 3)
    """
    if weights.ndim == _IMAGE_RANK:
        return weights.transpose(0, 2, 3, 1)
    return weights if _is_transposed(node) else weights.T


def restore_onnx_weights(layer: OnnxLayer, weights: Array) -> Array:
    """Undo what was done to a layer's weights; depthwise ones too."""
    if layer.op.kind is OpKind.DEPTHWISE_CONV_2D:
        weights = weights.transpose(3, 1, 2, 0)
    if weights.ndim == _IMAGE_RANK:
        return np.ascontiguousarray(weights.transpose(0, 3, 1, 2))
    return np.ascontiguousarray(weights if _is_transposed(layer.node) else weights.T)


def _describe(index: int, node: Any, weights: Array) -> tuple[Op, Array] | None:
    """Return a node as an operation, and its weights in TFLite's layout."""
    if node.op_type != "Conv":
        rank = 2
        if weights.ndim != rank or _read(node, "transA", 0) or _read(node, "alpha", 1.0) != 1:
            return None
        op = Op(index, OpKind.FULLY_CONNECTED, "FULLY_CONNECTED", (0, 1, 2), (3,), {})
        return op, turn_weights(node, weights)
    if weights.ndim != _IMAGE_RANK:
        return None
    groups = _read(node, "group", 1)
    attributes = {
        "strides": tuple(_read(node, "strides", (1, 1))),
        "dilations": tuple(_read(node, "dilations", (1, 1))),
        "padding": "valid",
        "groups": groups,
    }
    turned = turn_weights(node, weights)
    if groups > 1 and weights.shape[1] == 1:
        attributes["depth_multiplier"] = weights.shape[0] // groups
        turned = turned.transpose(3, 1, 2, 0)
        kind, name = OpKind.DEPTHWISE_CONV_2D, "DEPTHWISE_CONV_2D"
    else:
        kind, name = OpKind.CONV_2D, "CONV_2D"
    return Op(index, kind, name, (0, 1, 2), (3,), attributes), np.ascontiguousarray(turned)


def _find_margins(node: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return (top, left, bottom, right)."""
    rule = _read(node, "auto_pad", b"NOTSET")
    if rule in (b"NOTSET", b"VALID"):
        return tuple(_read(node, "pads", (0, 0, 0, 0)))
    before, after = [], []
    for axis in (0, 1):
        stride = _read(node, "strides", (1, 1))[axis]
        reach = (_read(node, "kernel_shape", (1, 1))[axis] - 1) * _read(node, "dilations", (1, 1))[
            axis
        ] + 1
        total = max((-(-size[axis] // stride) - 1) * stride + reach - size[axis], 0)
        small, large = total // 2, total - total // 2
        before.append(small if rule == b"SAME_UPPER" else large)
        after.append(large if rule == b"SAME_UPPER" else small)
    return (*before, *after)


def _is_transposed(node: Any) -> bool:
    """Whether a dense node stores its weights as (output, input)."""
    return bool(_read(node, "transB", 0))


def _read(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default
