"""What the rewrites share: who reads what, and layers whose weights may be scaled."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind
from edgevision.quantization.layers import CONVOLUTIONS, get_bias, get_weights

Array = np.ndarray[Any, Any]

LINEAR = (None, "", "none")
_HOMOGENEOUS = ("MUL", "MEAN", "RESHAPE", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RELU")
_IMAGE_RANK = 4
_VALID = 1
_ACTIVATION_CODES = {None: 0, "": 0, "none": 0, "relu": 1, "relu6": 3}


def get_only_reader(graph: Graph, tensor: int) -> Op | None:
    """Return the operation that alone reads a tensor; ``None`` for outputs of the network."""
    readers = graph.consumers.get(tensor, ())
    if len(readers) != 1 or tensor in graph.outputs:
        return None
    return graph.ops[readers[0]]


def get_linear_layer(graph: Graph, tensor: int) -> Op | None:
    """Return the convolution without activation that writes a tensor, ``None`` for anything else.

    Its outputs may be scaled and shifted through its weights and bias.
    """
    index = graph.producers.get(tensor)
    if index is None:
        return None
    op = graph.ops[index]
    fits = op.kind in CONVOLUTIONS and op.attributes.get("activation") in LINEAR
    return op if fits and has_constants(graph, op) else None


def has_constants(graph: Graph, op: Op) -> bool:
    """Whether a layer has constant float weights and a bias."""
    tensors = (get_weights(graph, op), get_bias(graph, op))
    return all(t is not None and t.data is not None and t.dtype == "float32" for t in tensors)


def is_image(tensor: Tensor) -> bool:
    """Whether a tensor is a float feature map of batch 1 with known sizes."""
    shape = tensor.shape
    known = len(shape) == _IMAGE_RANK and shape[0] == 1 and min(shape) > 0
    return known and tensor.dtype == "float32" and not tensor.constant


def add_channel_layer(
    editor: ModelEditor,
    image: int,
    output: int,
    constants: tuple[Array, Array],
    *,
    activation: str | None = None,
) -> None:
    """Add a depthwise 1×1 convolution that scales and shifts every channel.

    Args:
        editor: Of the model.
        image: Tensor that it reads.
        output: Tensor that it writes, of the same shape.
        constants: (C,) factors and (C,) shifts.
        activation: ``relu``, ``relu6`` or none.
    """
    factors, shifts = (np.asarray(values, np.float32) for values in constants)
    stored = editor.model.subgraphs[0].tensors[output].name  # text where it was added here
    name = stored if isinstance(stored, str) else bytes(stored or b"").decode()
    weights = editor.add_tensor(f"{name}/factors", data=factors.reshape(1, 1, 1, -1))
    bias = editor.add_tensor(f"{name}/shifts", data=shifts)
    fields = {
        "padding": _VALID,
        "strideH": 1,
        "strideW": 1,
        "depthMultiplier": 1,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": _ACTIVATION_CODES[activation],
    }
    options = ("DepthwiseConv2DOptions", fields)
    editor.add_op("DEPTHWISE_CONV_2D", [image, weights, bias], [output], options=options)


def add_like(editor: ModelEditor, graph: Graph, tensor: int, suffix: str) -> int:
    """Add an activation of the shape of another one, and return its index."""
    model = graph.tensors[tensor]
    return editor.add_tensor(f"{model.name}/{suffix}", shape=model.shape)


class LayerEdits:
    """Collects changes to the weights and biases of layers, and writes them all at once.

    Changed constants become tensors of their own: converters store equal ones once.

    Args:
        graph: The network before the rewrite.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._values: dict[int, tuple[Array, Array]] = {}

    def scale_inputs(self, op: Op, factor: float) -> None:
        """Let a layer give the same for inputs that lack a factor."""
        weights, bias = self._read(op)
        self._values[op.index] = (weights * factor, bias)

    def scale_outputs(self, op: Op, factors: Array, shifts: Array) -> None:
        """Let a layer give (C,) ``factors`` times what it gave, plus (C,) ``shifts``."""
        weights, bias = self._read(op)
        depthwise = op.kind is OpKind.DEPTHWISE_CONV_2D
        rows = factors if depthwise else factors.reshape(-1, 1, 1, 1)
        self._values[op.index] = (weights * rows, bias * factors + shifts)

    def write(self, editor: ModelEditor) -> None:
        """Write the changes; operations have their places in the graph still."""
        operators = editor.model.subgraphs[0].operators
        for index, values in self._values.items():
            inputs = [int(i) for i in operators[index].inputs]
            name = self._graph.tensors[self._graph.ops[index].outputs[0]].name
            for place, data in enumerate(values, start=1):
                part = f"{name}/{'weights' if place == 1 else 'bias'}"
                inputs[place] = editor.add_tensor(part, data=data.astype(np.float32))
            operators[index].inputs = inputs

    def _read(self, op: Op) -> tuple[Array, Array]:
        if op.index in self._values:
            return self._values[op.index]
        tensors = (get_weights(self._graph, op), get_bias(self._graph, op))
        weights, bias = (np.array(t.data, np.float64) for t in tensors if t is not None)
        return weights, bias


def find_takers(graph: Graph, tensor: int) -> list[Op] | None:
    """Follow a factor for all channels to the convolutions that can take it.

    Args:
        graph: The network.
        tensor: What would lack the factor.

    Returns:
        The convolutions that read it, directly or through what is linear; ``None`` where something
        else does.
    """
    followed = follow_factor(graph, tensor)
    return None if followed is None else followed[0]


def follow_factor(graph: Graph, tensor: int) -> tuple[list[Op], list[int]] | None:
    """Follow a factor to the convolutions that can take it, and through what it passes.

    Args:
        graph: The network.
        tensor: What would lack the factor.

    Returns:
        The convolutions, and the tensors that would lack it; ``None`` where something else reads
        one of them.
    """
    takers: dict[int, Op] = {}
    lacking, pending = {tensor}, [tensor]
    while pending:
        current = pending.pop()
        if current in graph.outputs or not graph.consumers.get(current):
            return None
        for reader in (graph.ops[i] for i in graph.consumers[current]):
            if reader.kind in CONVOLUTIONS and reader.inputs[0] == current:
                if not has_constants(graph, reader):
                    return None
                takers[reader.index] = reader
            elif _passes(reader):
                pending.append(reader.outputs[0])
                lacking.add(reader.outputs[0])
            else:
                return None
    products = (graph.ops[i] for t in lacking for i in graph.consumers[t])
    twice = any(op.name == "MUL" and lacking.issuperset(op.inputs) for op in products)
    return None if twice else (list(takers.values()), sorted(lacking))


def _passes(op: Op) -> bool:
    """Whether an operation passes a positive factor of one input on to its output."""
    return op.name in _HOMOGENEOUS and op.attributes.get("activation") in (*LINEAR, "relu")
