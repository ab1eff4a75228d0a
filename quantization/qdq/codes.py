"""A QDQ network as one of integers: what has a scale is read and written as codes.

Between two operations stand a QuantizeLinear and a DequantizeLinear; runtimes join them with the
operations. Here they go, and operations read and write the integers themselves, with their scales,
as those of a quantized ``.tflite`` do. Where integers meet floats at an end of the network they
stay.
"""

from __future__ import annotations

from dataclasses import replace

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind


def join_codes(graph: Graph) -> Graph:
    """Let operations read and write integers, without the nodes that scale them.

    Args:
        graph: A QDQ network, as read.

    Returns:
        The same network; tensors keep their indices.
    """
    read = {
        op.outputs[0]: op.inputs[0] for op in graph.ops if _scales(graph, op, OpKind.DEQUANTIZE)
    }
    written = {
        op.inputs[0]: op.outputs[0]
        for op in graph.ops
        if _scales(graph, op, OpKind.QUANTIZE) and _is_made_for(graph, op)
    }
    ops = list[Op]()
    for op in graph.ops:
        outer = any(t in graph.outputs for t in op.outputs)
        if op.outputs[0] in read and not outer:
            continue
        if op.kind is OpKind.QUANTIZE and op.inputs[0] in written:
            continue
        ops.append(
            replace(
                op,
                index=len(ops),
                inputs=op.inputs if op.outputs[0] in read else _map(op.inputs, read),
                outputs=_map(op.outputs, written),
            )
        )
    return replace(graph, ops=tuple(ops))


def _map(tensors: tuple[int, ...], names: dict[int, int]) -> tuple[int, ...]:
    return tuple(names.get(t, t) for t in tensors)


def _scales(graph: Graph, op: Op, kind: OpKind) -> bool:
    """Whether an operation changes between floats and integers of a known scale."""
    coded = op.outputs[0] if kind is OpKind.QUANTIZE else op.inputs[0]
    return op.kind is kind and graph.tensors[coded].quantization is not None


def _is_made_for(graph: Graph, op: Op) -> bool:
    """Whether what a QuantizeLinear reads is made by an operation, and for nothing else."""
    source = op.inputs[0]
    alone = len(graph.consumers[source]) == 1 and source not in graph.outputs
    return alone and source in graph.producers
