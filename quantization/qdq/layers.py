"""Where the layers of a float ONNX network are in its QDQ form, and how they are stored there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.bias import store_bias
from edgevision.quantization.layers import REPAIRABLE, Layer, get_bias, get_weights
from edgevision.quantization.moments import Moments, group_weights, ungroup_weights
from edgevision.quantization.qdq.view import restore_weights, turn_weights
from edgevision.specs import Quantization

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A tensor of a QDQ network, as integers where it has a scale.

    Attributes:
        name: Of the integers, or of the float tensor.
        quantization: ``None`` for a float tensor.
        dtype: Of the integers.
    """

    name: str
    quantization: Quantization | None = None
    dtype: str = "float32"


class QdqModel:
    """A QDQ network whose constants may change.

    Args:
        model: ``ModelProto``; its constants change in place.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._constants = {t.name: t for t in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._nodes = {node.name: node for node in model.graph.node}

    def find_node(self, name: str) -> Any:
        """Return a node by its name; ``None`` where there is none."""
        return self._nodes.get(name)

    def find_input(self, tensor: str) -> Coded:
        """Return the integers from which a tensor that a node reads is made."""
        node = self._producers.get(tensor)
        if node is None or node.op_type != "DequantizeLinear" or not self._is_scaled(node):
            return Coded(name=tensor)
        return self._describe(node, node.input[0])

    def find_output(self, tensor: str) -> Coded:
        """Return the integers that are made from a tensor that a node writes."""
        readers = self._readers.get(tensor, [])
        alone = len(readers) == 1 and readers[0].op_type == "QuantizeLinear"
        if not alone or not self._is_scaled(readers[0]):
            return Coded(name=tensor)
        return self._describe(readers[0], readers[0].output[0])

    def find_constant(self, tensor: str) -> Any:
        """Return the DequantizeLinear of a constant of its own, ``None`` for another tensor."""
        node = self._producers.get(tensor)
        if node is None or node.op_type != "DequantizeLinear" or not self._is_scaled(node):
            return None
        alone = len(self._readers[tensor]) == len(self._readers[node.input[0]]) == 1
        return node if alone and node.input[0] in self._constants else None

    def read(self, name: str) -> Array:
        """Return the values of a constant."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._constants[name]))

    def write(self, values: Mapping[str, Array]) -> None:
        """Change constants, by name."""
        from onnx import numpy_helper

        for name, array in values.items():
            self._constants[name].CopyFrom(numpy_helper.from_array(array, name))

    def _is_scaled(self, node: Any) -> bool:
        return len(node.input) > 2 and all(name in self._constants for name in node.input[1:3])

    def _describe(self, node: Any, name: str) -> Coded:
        scale, zero = self.read(node.input[1]), self.read(node.input[2])
        quantization = Quantization((float(scale.ravel()[0]),), (int(zero.ravel()[0]),))
        return Coded(name=name, quantization=quantization, dtype=str(zero.dtype))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """One layer of the float network in the QDQ model.

    Attributes:
        op: The layer, in TFLite's terms.
        source: What it reads.
        output: What it gives, behind its activation.
        weights: DequantizeLinear of its weights; ``None`` where they stayed float.
        bias: The same of its bias.
    """

    op: Op
    source: Coded
    output: Coded
    weights: Any
    bias: Any

    @property
    def is_repairable(self) -> bool:
        """Whether weights and input are integer, and the weights are not exact already."""
        if self.weights is None or self.source.quantization is None:
            return False
        return self.op.kind in REPAIRABLE


def find_site(model: QdqModel, graph: Graph, op: Op) -> Site | None:
    """Find a layer in the QDQ model by its node's name; ``None`` where it is not.

    Args:
        model: What the engine made.
        graph: The float network in TFLite's terms.
        op: One of its layers.
    """
    node = model.find_node(op.label)
    if node is None or node.op_type != op.name:
        return None
    pointwise = get_weights(graph, op).shape[1:3] == (1, 1)
    exact = op.kind is OpKind.DEPTHWISE_CONV_2D and pointwise
    return Site(
        op=op,
        source=model.find_input(node.input[0]),
        output=model.find_output(node.output[0]),
        weights=None if exact else model.find_constant(node.input[1]),
        bias=model.find_constant(node.input[2]) if len(node.input) > 2 else None,
    )


def build_onnx_layer(model: QdqModel, graph: Graph, site: Site, *, moments: Moments) -> Layer:
    """Gather what a repair step needs of one layer.

    Args:
        model: The QDQ network.
        graph: The float network in TFLite's terms.
        site: The layer in both.
        moments: Of its inputs.
    """
    op = site.op
    stored, scales = (model.read(name) for name in site.weights.input[:2])
    integers = group_weights(op, turn_weights(op, stored))
    weights = group_weights(op, np.asarray(get_weights(graph, op).data))
    rows = integers.shape[:2]
    tensor = get_bias(graph, op)
    bias = np.zeros(rows) if tensor is None or tensor.data is None else tensor.data.reshape(rows)
    steps = np.broadcast_to(scales.astype(np.float64).ravel(), (rows[0] * rows[1],))
    return Layer(
        name=graph.tensors[op.outputs[0]].name,
        op=op,
        weights=weights,
        target=weights,
        integers=integers,
        scales=steps.reshape(rows),
        shares_scale=scales.size < rows[0] * rows[1],
        float_bias=bias.astype(np.float64),
        bias=bias.astype(np.float64),
        has_bias=site.bias is not None,
        moments=moments,
    )


def store_onnx_layer(model: QdqModel, site: Site, layer: Layer) -> dict[str, Array]:
    """Bring a repaired layer into the form of the file.

    Returns:
        New values of constants by name.
    """
    names = site.weights.input
    before, scales = model.read(names[0]), model.read(names[1])
    shape = turn_weights(site.op, before).shape
    integers = restore_weights(site.op, ungroup_weights(site.op, layer.integers, shape))
    steps = layer.scales.ravel()[: scales.size].reshape(scales.shape).astype(np.float32)
    constants = {names[0]: integers.astype(before.dtype), names[1]: steps}
    if site.bias is None or site.source.quantization is None:
        return constants
    names = site.bias.input
    before, scales = model.read(names[0]), model.read(names[1])
    products = layer.scales.astype(np.float32) * np.float64(site.source.quantization.scales[0])
    stored = store_bias(layer.bias.ravel(), products.ravel(), before.dtype)
    kept = products.ravel()[: scales.size].reshape(scales.shape).astype(np.float32)
    return constants | {names[0]: stored.reshape(before.shape), names[1]: kept}
