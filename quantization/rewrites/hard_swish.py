"""Hard-swish from parts that integer kernels have.

XNNPACK has no int8 kernel for HARD_SWISH, so that an int8 MobileNetV3 falls into some twenty parts
and runs slower than float; the Edge TPU has none at all. ``x · relu6(x + 3) / 6`` is the product of
``u = x / 6`` and ``relu6(6 u + 3)``, and a depthwise 1×1 convolution is the form of "scale and
shift" that both take: XNNPACK adds a constant only within limits on the scales. Where a convolution
gives x to nothing else, it gives u instead, at no cost; otherwise the factor goes into the layers
behind, or into another depthwise convolution.
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.editing import (
    LayerEdits,
    add_channel_layer,
    add_like,
    find_takers,
    get_linear_layer,
    get_only_reader,
    is_image,
)

_SHIFT = 3.0


def expand_hard_swish(network: Network) -> tuple[Network, int]:
    """Write every HARD_SWISH of a feature map as a depthwise convolution and a product.

    Args:
        network: The float network, before calibration.

    Returns:
        The equivalent network, and how many were written.
    """
    graph = network.graph
    found = [
        op for op in graph.ops if op.name == "HARD_SWISH" and is_image(graph.tensors[op.inputs[0]])
    ]
    if not found:
        return network, 0
    editor, edits = ModelEditor(network.model), LayerEdits(graph)
    for op in found:
        _expand(editor, graph, op, edits)
    edits.write(editor)
    editor.remove_ops([op.index for op in found])
    editor.remove_unused()
    return network.with_model(editor.to_bytes()), len(found)


def _expand(editor: ModelEditor, graph: Graph, op: Op, edits: LayerEdits) -> None:
    source, output = op.inputs[0], op.outputs[0]
    channels = graph.tensors[source].shape[-1]
    one, shift = np.ones(channels), np.full(channels, _SHIFT)
    gate = add_like(editor, graph, output, "gate")
    layer = get_linear_layer(graph, source) if get_only_reader(graph, source) else None
    takers = None if layer is not None else find_takers(graph, output)
    factor, sixth = one, source
    if layer is not None:
        edits.scale_outputs(layer, one / 6, 0 * one)
        factor = 6 * one
    elif takers is not None:
        for taker in takers:
            edits.scale_inputs(taker, 1 / 6)
    else:
        sixth = add_like(editor, graph, output, "sixth")
        add_channel_layer(editor, source, sixth, (one / 6, 0 * one))
    add_channel_layer(editor, source, gate, (factor, shift), activation="relu6")
    editor.add_op("MUL", [sixth, gate], [output], options=("MulOptions", {}))
