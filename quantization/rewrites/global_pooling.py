"""Means over whole feature maps as MEAN, whose result has a scale of its own.

TensorFlow Lite's integer AVERAGE_POOL_2D writes in the scale of its input (its specification of
8-bit quantization says so). A mean over a whole map stays far below the largest value of the map,
so that it gets few of the 256 codes, and the classifier behind it sees little else than rounding.
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.editing import LINEAR, is_image

_AXES = (1, 2)


def replace_global_pooling(network: Network) -> tuple[Network, int]:
    """Write every average over a whole feature map as MEAN.

    Args:
        network: The float network, before calibration.

    Returns:
        The equivalent network, and how many were written.
    """
    graph = network.graph
    found = [op for op in graph.ops if op.name == "AVERAGE_POOL_2D" and _is_global(graph, op)]
    if not found:
        return network, 0
    editor = ModelEditor(network.model)
    axes = editor.add_tensor("global_pooling/axes", data=np.array(_AXES, np.int32))
    options = ("ReducerOptions", {"keepDims": True})
    for op in found:
        editor.add_op("MEAN", [op.inputs[0], axes], [op.outputs[0]], options=options)
    editor.remove_ops([op.index for op in found])
    editor.remove_unused()
    return network.with_model(editor.to_bytes()), len(found)


def _is_global(graph: Graph, op: Op) -> bool:
    source, result = (graph.tensors[t] for t in (op.inputs[0], op.outputs[0]))
    whole = source.shape[1:3] == op.attributes["kernel"] and result.shape[1:3] == (1, 1)
    return whole and is_image(source) and op.attributes.get("activation") in LINEAR
