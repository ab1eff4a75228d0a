"""Channels that a quantizer scaled, copied or dropped before it rounded, told from the weights.

Equalization multiplies a channel by a factor and divides the next layer's weights by it: the
network answers the same, yet inner values differ. Copies of a channel, in the places of dead ones
or in places that were added, share the next layer's weights. Without knowing of either, such
channels would look like noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.diagnosis.copies import LEAST_STEPS, Rows, find_sources
from edgevision.quantization.diagnosis.layer_weights import (
    collect_weights,
    read_bias,
    read_weights,
    restore_weights,
    sort_channels,
)
from edgevision.quantization.diagnosis.pairing import Pair
from edgevision.quantization.diagnosis.places import NOWHERE, Places, join_places
from edgevision.quantization.diagnosis.sides import find_constant, list_read
from edgevision.quantization.layers import REPAIRABLE, WEIGHTED

Array = np.ndarray[Any, Any]
Graphs = tuple[Graph, Graph]

_LEAST_WEIGHTS = 16
# Unrelated weights share half of their signs.
_LEAST_SIGNS = 0.75
# A factor that coarse weights tell is believed where the bias tells nearly the same.
_LIKE_BIAS = 1.25
# Hard-swish divides by it, the product that replaces it does not.
_GATE = 6.0
_KEEPING = (
    *(OpKind.PAD, OpKind.MAX_POOL, OpKind.AVERAGE_POOL, OpKind.GLOBAL_POOL, OpKind.REDUCE),
    *(OpKind.ACTIVATION, OpKind.ADD, OpKind.RESIZE, OpKind.RESHAPE),
)


class PlaceFinder:
    """Follows channels through both networks while their layers are paired.

    Args:
        graphs: The float and the quantized network.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._places: dict[int, Places] = {}

    def accept(self, pair: Pair) -> bool:
        """Whether two layers hold the same weights, up to the places of channels."""
        found = find_places(self._graphs, pair, self._places)
        if found is None:
            return False
        if pair.before.op.kind in WEIGHTED:
            ends = get_input_places(self._graphs[0], pair, self._places), found
            if share_signs(self._graphs, pair, ends) < _LEAST_SIGNS:
                return False
        if not found.plain:
            self._places[pair.before.output] = found
        return True


def find_places(graphs: Graphs, pair: Pair, places: Mapping[int, Places]) -> Places | None:
    """Find where the channels that a layer writes are in the quantized network.

    Args:
        graphs: The float and the quantized network.
        pair: The layer in both.
        places: Of the tensors before it, by index in the float network; those missing are plain.

    Returns:
        ``None`` where nothing explains why the two networks have different numbers of channels.
    """
    before, after = graphs
    widths = tuple(
        (graph.tensors[side.output].shape or (1,))[-1]
        for graph, side in ((before, pair.before), (after, pair.after))
    )
    op = pair.before.op
    if op.kind in REPAIRABLE:
        found = _learn(graphs, pair, get_input_places(before, pair, places))
    else:
        found = _inherit(graphs, pair, places)
    if found is None or (found.num_channels, found.num_places) != widths:
        return Places.keep(widths[0]) if widths[0] == widths[1] else None
    factor = pair.after.factor / pair.before.factor
    return found if factor == 1 else found.scale(factor)


def get_input_places(graph: Graph, pair: Pair, places: Mapping[int, Places]) -> Places | None:
    """Return the places of the first activation that a layer reads; ``None`` where plain."""
    reads = list_read(graph, pair.before.op)
    return places.get(reads[0]) if reads else None


def share_signs(graphs: Graphs, pair: Pair, ends: tuple[Places | None, Places]) -> float:
    """Return the share of weights that kept their sign, whatever their channels were scaled by.

    Only weights that are not zero in either count; 1 where too few are left to tell, 0 where the
    shapes differ.
    """
    first, second = (
        read_weights(graph, side.op)
        for graph, side in zip(graphs, (pair.before, pair.after), strict=True)
    )
    if pair.before.op.kind in REPAIRABLE:
        second = restore_weights(pair.before.op, second, np.zeros_like(first), ends)
    if first.shape != second.shape:
        return 0.0
    used = (first != 0) & (second != 0)
    if int(used.sum()) < _LEAST_WEIGHTS:
        return 1.0
    return float((np.sign(first[used]) == np.sign(second[used])).mean())


def _inherit(graphs: Graphs, pair: Pair, places: Mapping[int, Places]) -> Places | None:
    """Return the places that a layer without weights of its own passes on."""
    before, op = graphs[0], pair.before.op
    reads = list_read(before, op)
    if not any(t in places for t in reads) and not pair.after.expanded:
        return None
    given = [places.get(t, Places.keep((before.tensors[t].shape or (1,))[-1])) for t in reads]
    if op.kind is OpKind.CONCAT:
        return join_places(given) if _is_last_axis(before, op) else None
    if op.kind is OpKind.MUL:
        return _multiply(given)
    if pair.after.expanded and not pair.before.expanded:
        return given[0].scale(_GATE * _read_swish_factors(graphs[1], pair.after.op))
    return given[0] if op.kind in _KEEPING else None


def _multiply(given: list[Places]) -> Places | None:
    """Return the places of a product; a constant or a single value is no activation's channels."""
    wide = [places for places in given if places.num_channels > 1] or given[:1]
    if any(not np.array_equal(places.sources, wide[0].sources) for places in wide):
        return None
    factors = np.prod([places.factors for places in given], axis=0)
    return Places.place(wide[0].num_channels, wide[0].sources, factors)


def _read_swish_factors(graph: Graph, op: Op) -> Array | float:
    """Return what a layer before the product multiplies with, where there is one."""
    single = op.attributes.get("activation") == "relu6"
    return 1.0 if single else read_weights(graph, op).reshape(-1)


def _learn(graphs: Graphs, pair: Pair, given: Places | None) -> Places | None:
    """Tell the places of a layer's output from its weights."""
    before, after = graphs
    op, weights = pair.before.op, read_weights(before, pair.before.op)
    stored = collect_weights(op, read_weights(after, pair.after.op), given)
    fits = given is not None and given.num_channels == weights.shape[-1]
    depthwise = op.kind is OpKind.DEPTHWISE_CONV_2D
    if not depthwise and stored.shape[1:] != weights.shape[1:]:
        return None
    if given is not None and fits and not depthwise:
        weights = np.where(given.counts > 0, weights, 0)  # nobody reads the others any more
    bias = read_bias(after, pair.after.op, given)
    rows = Rows(
        weights=sort_channels(op, weights),
        stored=sort_channels(op, stored),
        steps=_find_steps(after, pair),
        bias=np.zeros(stored.shape[-1 if depthwise else 0]) if bias is None else bias,
        output_step=_find_output_step(after, pair),
    )
    if depthwise:
        sources = given.sources if given is not None and fits else np.arange(len(rows.weights))
    else:
        sources = find_sources(rows)
    if sources.size != len(rows.stored) or (rows.stored[sources == NOWHERE] != 0).any():
        return None
    factors = _fit_factors(rows.weights[sources], rows.stored, rows.steps)
    found = Places.place(len(rows.weights), sources, factors)
    if bias is None or not found.moved:
        return found
    own = read_bias(before, op, None)
    if own is not None:
        found = replace(found, factors=_fit_coarse(rows, found, own[sources]))
    return found.shift(bias)


def _fit_factors(weights: Array, stored: Array, steps: Array) -> Array:
    """Return the factor of each output channel; 1 where the stored weights are too coarse."""
    power = np.square(weights, dtype=np.float64).sum(axis=1)
    product = np.einsum("ok,ok->o", weights, stored, dtype=np.float64)
    coarse = (steps < LEAST_STEPS) | (power <= 0) | (product <= 0)
    return np.where(coarse, 1.0, product / np.where(power > 0, power, 1.0)).astype(np.float32)


def _fit_coarse(rows: Rows, found: Places, bias: Array) -> Array:
    """Return the factors with those of coarse rows told by the bias, where the weights agree.

    Args:
        rows: Of the layer.
        found: Their places.
        bias: (Q,) of the float channel that each stands for.
    """
    told = _fit_factors(rows.weights[found.sources], rows.stored, np.full(found.num_places, np.inf))
    ratio = rows.bias / np.where(bias == 0, 1, bias)
    agree = (ratio * _LIKE_BIAS > told) & (ratio < told * _LIKE_BIAS)
    coarse = (rows.steps < LEAST_STEPS) & (bias != 0) & agree
    return np.where(coarse, ratio, found.factors).astype(np.float32)


def _find_output_step(graph: Graph, pair: Pair) -> float:
    quantization = graph.tensors[pair.after.output].quantization
    return quantization.scales[0] if quantization else 0.0


def _find_steps(graph: Graph, pair: Pair) -> Array:
    """Return (Q,) how many steps the largest stored weight of each channel has."""
    tensor = find_constant(graph, pair.after.op.inputs[1])
    if tensor is None or tensor.data is None or tensor.quantization is None:
        return np.full(graph.tensors[pair.after.output].shape[-1], np.inf)
    zero = tensor.quantization.zero_points[0]
    rows = sort_channels(pair.after.op, tensor.data.astype(np.int32) - zero)
    return np.asarray(np.abs(rows).max(axis=1))


def _is_last_axis(graph: Graph, op: Op) -> bool:
    rank = len(graph.tensors[op.outputs[0]].shape)
    return int(op.attributes.get("axis", -1)) % rank == rank - 1
