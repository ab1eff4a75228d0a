"""Arithmetic with constants becomes part of the convolutions around it.

A feature map that is multiplied by, or added to, one constant per channel (or one for all) costs
another integer kernel and another rounding. The
factor 1/6 of a hard-sigmoid is such a constant. It moves into the weights of the convolution before
it, or through what is linear into those behind it; where neither can take it, it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op
from edgevision.quantization.network import Network
from edgevision.quantization.rewrites.editing import (
    LINEAR,
    LayerEdits,
    find_takers,
    get_linear_layer,
    get_only_reader,
    is_image,
)

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arithmetic:
    """``factors · x + shifts`` of a feature map.

    Attributes:
        op: The operation.
        source: Tensor index of x.
        factors: (C,) float64.
        shifts: (C,) float64.
    """

    op: Op
    source: int
    factors: Array
    shifts: Array


def fold_constants(network: Network) -> tuple[Network, int]:
    """Move arithmetic with constants into convolutions, as often as there is any.

    Args:
        network: The float network, before calibration.

    Returns:
        The equivalent network, and how many operations went away.
    """
    total = 0
    while True:
        network, changed = _fold_once(network)
        total += changed
        if not changed:
            return network, total


def read_arithmetic(graph: Graph, op: Op) -> Arithmetic | None:
    """Read ADD, SUB, MUL or DIV of a feature map with constants; ``None`` for anything else."""
    rule = _RULES.get(op.name)
    if rule is None or op.attributes.get("activation") not in LINEAR:
        return None
    sides = [graph.tensors[t] for t in op.inputs]
    place = 1 if sides[1].constant else 0
    constant, source = sides[place], sides[1 - place]
    if constant.data is None or constant.dtype != "float32" or not is_image(source):
        return None
    if place == 0 and op.name in ("SUB", "DIV"):
        return None
    channels = source.shape[-1]
    values = constant.data.astype(np.float64).ravel()
    if graph.tensors[op.outputs[0]].shape != source.shape or values.size not in (1, channels):
        return None
    if values.size > 1 and constant.shape[-1] != channels:
        return None
    factors, shifts = rule(np.broadcast_to(values, (channels,)))
    return Arithmetic(op=op, source=source.index, factors=factors, shifts=shifts)


def _fold_once(network: Network) -> tuple[Network, int]:
    """Fold all but what reads the result of another one: that is found in the next round."""
    graph = network.graph
    editor, edits = ModelEditor(network.model), LayerEdits(graph)
    removed: dict[int, int] = {}
    for op in graph.ops:
        found = read_arithmetic(graph, op)
        if found is None or found.source in removed.values():
            continue
        if _fold(graph, found, edits):
            editor.rewire(op.outputs[0], found.source)
            removed[op.index] = op.outputs[0]
    if not removed:
        return network, 0
    edits.write(editor)
    editor.remove_ops(list(removed))
    editor.remove_unused()
    return network.with_model(editor.to_bytes()), len(removed)


def _fold(graph: Graph, found: Arithmetic, edits: LayerEdits) -> bool:
    """Give constants to the layers around; return whether there are any that can take them."""
    output = found.op.outputs[0]
    if output in graph.outputs:  # it names the network's output
        return False
    before = get_linear_layer(graph, found.source) if get_only_reader(graph, found.source) else None
    if before is not None:
        edits.scale_outputs(before, found.factors, found.shifts)
        return True
    takers = find_takers(graph, output) if _is_factor(found) else None
    for taker in takers or ():
        edits.scale_inputs(taker, float(found.factors[0]))
    return takers is not None


def _is_factor(found: Arithmetic) -> bool:
    """Whether it is one positive factor for all channels, and nothing else."""
    same = float(np.ptp(found.factors)) == 0 and found.factors[0] > 0
    return same and not found.shifts.any()


_RULES: Mapping[str, Callable[[Array], tuple[Array, Array]]] = {
    "ADD": lambda values: (np.ones_like(values), values),
    "SUB": lambda values: (np.ones_like(values), -values),
    "MUL": lambda values: (values, np.zeros_like(values)),
    "DIV": lambda values: (1 / values, np.zeros_like(values)),
}
