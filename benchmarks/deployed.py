"""What the int8 file of a network would weigh and need, told from shapes before anything is built.

An estimate: it follows what converting and quantizing do to the kinds of operations that the zoo
consists of. BatchNorm is folded into the layer before it, weights take one byte and biases four,
every channel has a scale and a zero point of its own, a hard-swish becomes a depthwise
convolution and a product, and what is concatenated is brought to one range.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.benchmarks.memory import measure_memory
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.graph.ops import OpKind

# Of one channel: its bias, and scale (4) and zero point (8) of both kernel and bias.
_CHANNEL_BYTES = 4 + 2 * (4 + 8)
# Of one operation: its tables, and names, shapes and ranges of the tensors that it brings.
_LAYER_BYTES = 800
_OP_BYTES = 500
# Header, signature, contract and labels' archive.
_FILE_BYTES = 4096

_LAYERS = frozenset(
    {
        OpKind.CONV_2D,
        OpKind.DEPTHWISE_CONV_2D,
        OpKind.TRANSPOSE_CONV_2D,
        OpKind.FULLY_CONNECTED,
    }
)
# What every integer kernel and accelerator takes as part of the layer before it.
_FUSED = frozenset({"relu", "relu6"})
_HARD_SWISH = "hard_swish"
_UNFRIENDLY = frozenset({_HARD_SWISH, "hard_sigmoid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What the int8 file of a network is expected to need.

    Attributes:
        file_bytes: Estimated size of the file.
        ram_bytes: Arena for the activations, at batch 1.
    """

    file_bytes: int
    ram_bytes: int


def estimate_int8(graph: Graph) -> Deployed:
    """Estimate file and memory of a network that is quantized to int8.

    Not included in the memory: the interpreter itself, its tables, and scratch of kernels.

    Args:
        graph: From ``build_graph``.

    Returns:
        The size of the file with a contract, without class names, and the arena of activations.
    """
    ram_bytes, _ = measure_memory(_quantize(graph))
    return Deployed(file_bytes=_estimate_file(graph), ram_bytes=ram_bytes)


def is_int8_friendly(graph: Graph) -> bool:
    """Whether a network consists of what int8 kernels take without a rewrite.

    Hard-swish, hard-sigmoid and the product of two feature maps (squeeze-and-excite) are what they
    take badly: wide ranges, and operations that run slowly or leave the accelerator.
    """
    return not any(
        op.kind is OpKind.MUL or op.attributes.get("activation") in _UNFRIENDLY for op in graph.ops
    )


def _estimate_file(graph: Graph) -> int:
    total = _FILE_BYTES
    normalized = {op.inputs[0] for op in graph.ops if op.kind is OpKind.BATCH_NORM}
    written: set[int] = set()
    for op in graph.ops:
        if op.kind in _LAYERS:
            kernel = graph.tensors[op.inputs[1]]
            # Layers share a kernel in the file as well, unless each has a BatchNorm of its own.
            if kernel.index not in written or op.outputs[0] in normalized:
                total += kernel.size + _count_channels(op, kernel) * _CHANNEL_BYTES
            written.add(kernel.index)
            total += _LAYER_BYTES
        elif _is_hard_swish(op):
            channels = graph.tensors[op.inputs[0]].shape[-1]
            total += channels * (1 + _CHANNEL_BYTES) + _LAYER_BYTES + _OP_BYTES
        elif op.kind is not OpKind.BATCH_NORM and not _is_fused(op):
            total += _OP_BYTES
    return total


def _count_channels(op: Op, kernel: Tensor) -> int:
    """Count the outputs of a layer; GraphNet's kernels have the layout of Keras."""
    if op.kind is OpKind.DEPTHWISE_CONV_2D:
        return kernel.shape[-1] * kernel.shape[-2]
    return kernel.shape[-2] if op.kind is OpKind.TRANSPOSE_CONV_2D else kernel.shape[-1]


def _is_fused(op: Op) -> bool:
    return op.kind is OpKind.ACTIVATION and op.attributes["activation"] in _FUSED


def _is_hard_swish(op: Op) -> bool:
    return op.kind is OpKind.ACTIVATION and op.attributes["activation"] == _HARD_SWISH


def _quantize(graph: Graph) -> Graph:
    """Return the graph as quantizing leaves it: int8, and what it puts in between."""
    tensors = [t if t.constant else Tensor(t.index, t.name, t.shape, "int8") for t in graph.tensors]
    ops: list[Op] = []

    def add(op: Op, kind: OpKind, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        ops.append(Op(len(ops), kind, op.name, inputs, outputs, op.attributes, op.label))

    def add_tensor(like: int) -> int:
        tensors.append(Tensor(len(tensors), "", tensors[like].shape, "int8"))
        return len(tensors) - 1

    resized = {op.outputs[0] for op in graph.ops if op.kind is OpKind.RESIZE}
    for op in graph.ops:
        if _is_hard_swish(op):
            gate = add_tensor(op.inputs[0])
            add(op, OpKind.DEPTHWISE_CONV_2D, op.inputs, (gate,))
            add(op, OpKind.MUL, (*op.inputs, gate), op.outputs)
        elif op.kind is OpKind.CONCAT:
            # All inputs need the range of the result, but a resize keeps the one that it reads.
            inputs = []
            for index in op.inputs:
                inputs.append(add_tensor(index) if index in resized else index)
                if inputs[-1] != index:
                    add(op, OpKind.QUANTIZE, (index,), (inputs[-1],))
            add(op, op.kind, tuple(inputs), op.outputs)
        else:
            add(op, op.kind, op.inputs, op.outputs)
    return Graph(
        name=graph.name,
        tensors=tuple(tensors),
        ops=tuple(ops),
        inputs=graph.inputs,
        outputs=graph.outputs,
    )
