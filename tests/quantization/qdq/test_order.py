from __future__ import annotations

from typing import Any

import tiny_onnx

from edgevision.graph.onnx import read_onnx_model
from edgevision.quantization.qdq.order import sort_ops


def test_the_order_is_that_of_the_outputs_whatever_the_file_says() -> None:
    model = tiny_onnx.build_detector()
    graph = read_onnx_model(model)
    mixed = tiny_onnx.build_detector()
    # Both heads in another order, each still behind what it reads.
    nodes = list(mixed.graph.node)
    moved = sorted(nodes, key=lambda node: "scores" not in node.name)
    del mixed.graph.node[:]
    mixed.graph.node.extend(sort_nodes(moved))
    other = read_onnx_model(mixed)
    assert [op.label for op in graph.ops] != [op.label for op in other.ops]
    assert [op.label for op in sort_ops(graph).ops] == [op.label for op in sort_ops(other).ops]
    assert [op.index for op in sort_ops(other).ops] == list(range(len(graph.ops)))


def sort_nodes(nodes: list[Any]) -> list[Any]:
    made = {name for node in nodes for name in node.output}
    ordered, ready = list[Any](), set[str]()
    while nodes:
        node = next(n for n in nodes if all(i in ready or i not in made for i in n.input))
        nodes.remove(node)
        ordered.append(node)
        ready.update(node.output)
    return ordered
