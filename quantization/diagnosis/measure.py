"""Running both networks side by side and measuring every layer: alone, and behind all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from edgevision.graph.graph import Graph
from edgevision.graph.ops import OpKind
from edgevision.quantization.answers import quantize_images
from edgevision.quantization.constants import dequantize_tensor
from edgevision.quantization.diagnosis.evidence import LayerEvidence, Shares, Values, Weights
from edgevision.quantization.diagnosis.layer_weights import (
    Ends,
    read_bias,
    read_weights,
    restore_weights,
    spread_weights,
)
from edgevision.quantization.diagnosis.names import find_block, name_layers
from edgevision.quantization.diagnosis.pairing import Pair, feeds_softmax, pair_networks
from edgevision.quantization.diagnosis.places import Places
from edgevision.quantization.diagnosis.powers import measure_powers
from edgevision.quantization.diagnosis.rescaling import PlaceFinder, find_places, get_input_places
from edgevision.quantization.diagnosis.sides import find_constant
from edgevision.quantization.diagnosis.values import (
    find_gate,
    measure_ties,
    measure_values,
    measure_weights,
)
from edgevision.quantization.gates import clip_unread, find_floors
from edgevision.quantization.layers import WEIGHTED, get_bias
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]


class LayerWalk(Protocol):
    """A network of any format in the middle of a run over a set of images.

    Attributes:
        graph: The network, in TFLite's terms.
        live: (N, *shape) of every tensor that is still needed, by tensor index.
    """

    graph: Graph
    live: dict[int, Array]

    def advance(self, position: int) -> None:
        """Run all operations before ``position``."""

    def try_ops(
        self,
        last: int,
        constants: Mapping[int, Array] | None = None,
        given: Mapping[int, Array] | None = None,
    ) -> dict[int, Array]:
        """Run up to ``last``, with other constants or inputs, without moving on."""

    def commit(self, outputs: Mapping[int, Array], position: int | None = None) -> None:
        """Move on with these outputs, and forget what nothing needs any more."""


class Measurement:
    """Both networks on their way over the same images.

    Args:
        walks: The float and the quantized network, before their first operation.
        images: (N, *input shape) float32.

    Attributes:
        pairs: The layers that both have.

    Raises:
        InvalidModelError: The two are not the same network.
    """

    def __init__(self, walks: tuple[LayerWalk, LayerWalk], images: Array) -> None:
        graphs = walks[0].graph, walks[1].graph
        self.pairs = pair_networks(*graphs, PlaceFinder(graphs).accept)
        self._places: dict[int, Places] = {}
        self._floors = find_floors(graphs[0])
        self._names = name_layers(
            [graphs[0].tensors[pair.before.output].name for pair in self.pairs],
            [pair.before.op.name for pair in self.pairs],
        )
        self._images = images
        self._measured: dict[int, Values] = {}
        self._before, self._after = walks

    @property
    def rescaled(self) -> int:
        """Layers whose channels were scaled or moved before rounding, of those measured so far."""
        return len(self._places)

    @property
    def unpaired(self) -> int:
        """Layers with weights that only one of both networks has."""
        pairs = [(pair.before, pair.after) for pair in self.pairs]
        total = 0
        for walk, sides in zip((self._before, self._after), zip(*pairs, strict=True), strict=True):
            covered = {i for side in sides for i in range(side.op.index, side.last + 1)}
            ops = walk.graph.ops
            total += sum(op.kind in WEIGHTED and op.index not in covered for op in ops)
        return total

    def measure_input(self) -> Values:
        """Measure the images against the integers that the quantized network takes."""
        graph = self._after.graph
        return measure_values(self._images, graph.tensors[graph.inputs[0]])

    def measure_layers(self, progress: Progress | None = None) -> tuple[LayerEvidence, ...]:
        """Measure every pair, and run both networks to the end."""
        found = []
        for done, (pair, name) in enumerate(zip(self.pairs, self._names, strict=True)):
            found.append(self._measure(pair, name))
            if progress:
                progress("diagnosing layers", done + 1, len(self.pairs))
        for walk in (self._before, self._after):
            walk.advance(len(walk.graph.ops))
        return tuple(found)

    def read_outputs(self) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return (N, …) float32 of each output of both networks, once all layers are measured."""
        first, second = (
            tuple(
                dequantize_tensor(walk.live[t], walk.graph.tensors[t].quantization)
                for t in walk.graph.outputs
            )
            for walk in (self._before, self._after)
        )
        return first, second

    def _measure(self, pair: Pair, name: str) -> LayerEvidence:
        before, after = pair.before, pair.after
        self._before.advance(before.op.index)
        self._after.advance(after.op.index)
        plain = self._before.try_ops(before.last)
        actual = self._after.try_ops(after.last)
        expected = self._clip(pair, plain[before.output])
        self._find_places(pair, expected, actual[after.output])
        alone = self._restore(pair, self._run_alone(pair)[after.output], expected)
        together = self._restore(pair, actual[after.output], expected)
        output = self._measure_output(pair, expected)
        if output.softmax_next and output.bits:
            # As in ``measure_values``: quantizers may leave the lowest logits out.
            expected, alone, together = (
                np.maximum(side, output.range[0]) for side in (expected, alone, together)
            )
        local = measure_powers(expected, alone)
        evidence = LayerEvidence(
            index=after.op.index,
            name=name,
            block=find_block(name),
            op=self._after.graph.ops[after.last].name if after.expanded else after.op.name,
            kind=before.op.kind,
            local_sqnr_db=local.sqnr_db,
            sqnr_db=measure_powers(expected, together).sqnr_db,
            channel_sqnr_db=local.channel_sqnr_db,
            shift=local.shift_share,
            shares=self._split_noise(pair, expected),
            inputs=self._measure_inputs(pair),
            output=output,
            weights=self._measure_weights(pair),
            ties=self._measure_ties(pair),
            gate=self._choose_gate(pair),
        )
        self._before.commit(plain, before.last + 1)
        self._after.commit(actual, after.last + 1)
        return evidence

    def _find_places(self, pair: Pair, expected: Array, stored: Array) -> None:
        """Learn where the channels that a layer writes are in the quantized network."""
        found = find_places((self._before.graph, self._after.graph), pair, self._places)
        if found is None or found.plain:
            return
        tensor = self._after.graph.tensors[pair.after.output]
        actual = dequantize_tensor(stored, tensor.quantization)
        self._places[pair.before.output] = found.refine(expected, actual)

    def _run_alone(self, pair: Pair) -> dict[int, Array]:
        """Run the quantized layer on what the float network gives it."""
        given = {}
        for tensor, mine in pair.inputs.items():
            real = self._gather(self._before.live[mine], mine)
            shaped = real.reshape(len(real), *self._after.graph.tensors[tensor].shape)
            given[tensor] = quantize_images(shaped, self._after.graph.tensors[tensor])
        return self._after.try_ops(pair.after.last, given=given)

    def _split_noise(self, pair: Pair, expected: Array) -> Shares | None:
        """Quantize weights, inputs and output one at a time, in float."""
        op = pair.before.op
        powers = [0.0, 0.0, 0.0]
        if op.kind in WEIGHTED:
            constants = self._read_constants(pair)
            if constants is None:
                return None
            powers[0] = self._measure_noise(pair, expected, constants)
        rounded = {mine: self._round(tensor, mine) for tensor, mine in pair.inputs.items()}
        powers[1] = self._measure_noise(pair, expected, given=rounded)
        tensor = self._after.graph.tensors[pair.after.output]
        stored = quantize_images(self._gather(expected, pair.before.output), tensor)
        powers[2] = _sum_noise(expected, self._restore(pair, stored, expected))
        total = sum(powers)
        if total <= 0:
            return None
        weights, inputs, output = (round(power / total, 4) for power in powers)
        return Shares(weights=weights, inputs=inputs, output=output)

    def _measure_noise(
        self,
        pair: Pair,
        expected: Array,
        constants: dict[int, Array] | None = None,
        *,
        given: dict[int, Array] | None = None,
    ) -> float:
        """Return what the float layer makes of other constants or inputs, as noise power."""
        outputs = self._before.try_ops(pair.before.last, constants, given)
        actual = self._clip(pair, outputs[pair.before.output])
        places = self._places.get(pair.before.output)
        if places is not None and places.moved:  # what has no place is read by nobody
            actual = np.where(places.counts > 0, actual, expected)
        return _sum_noise(expected, actual)

    def _get_ends(self, pair: Pair) -> Ends:
        given = get_input_places(self._before.graph, pair, self._places)
        return given, self._places.get(pair.before.output)

    def _read_constants(self, pair: Pair) -> dict[int, Array] | None:
        """Return the quantized weights and bias as constants of the float layer."""
        graph, op = self._before.graph, pair.before.op
        weights = find_constant(graph, op.inputs[1])
        stored = find_constant(self._after.graph, pair.after.op.inputs[1])
        if weights is None or stored is None or weights.dtype != "float32":
            return None
        real, own = read_weights(self._after.graph, pair.after.op), read_weights(graph, op)
        restored = restore_weights(op, real, own, self._get_ends(pair))
        return {weights.index: restored, **self._read_bias(pair)}

    def _read_bias(self, pair: Pair) -> dict[int, Array]:
        mine = get_bias(self._before.graph, pair.before.op)
        given, written = self._get_ends(pair)
        real = read_bias(self._after.graph, pair.after.op, given)
        if mine is None or mine.data is None or real is None or mine.dtype != "float32":
            return {}
        restored = real if written is None else written.restore(real, mine.data)
        return {mine.index: restored.astype(np.float32)}

    def _measure_inputs(self, pair: Pair) -> tuple[Values, ...]:
        for tensor, mine in pair.inputs.items():
            if tensor not in self._measured:  # it is no layer's output: the image, or rescaled
                target = self._after.graph.tensors[tensor]
                values = clip_unread(self._before.live[mine], self._floors, mine)
                self._measured[tensor] = measure_values(self._gather(values, mine), target)
        return tuple(self._measured[tensor] for tensor in pair.inputs)

    def _measure_output(self, pair: Pair, expected: Array) -> Values:
        tensor = self._after.graph.tensors[pair.after.output]
        values = self._gather(expected, pair.before.output)
        softmax_next = feeds_softmax(self._before.graph, pair.before.output)
        found = measure_values(values, tensor, softmax_next=softmax_next)
        self._measured[pair.after.output] = found
        return found

    def _measure_ties(self, pair: Pair) -> float:
        if pair.before.op.kind is not OpKind.SOFTMAX or not pair.inputs:
            return 0.0
        ((tensor, mine),) = pair.inputs.items()
        return measure_ties(self._before.live[mine], self._round(tensor, mine))

    def _choose_gate(self, pair: Pair) -> int:
        shapes = tuple(self._before.graph.tensors[t].shape for t in pair.inputs.values())
        return find_gate(shapes, pair.before.op.kind)

    def _measure_weights(self, pair: Pair) -> Weights | None:
        op, graph = pair.before.op, self._after.graph
        stored = find_constant(graph, pair.after.op.inputs[1]) if op.kind in WEIGHTED else None
        if stored is None:
            return None
        weights = spread_weights(op, read_weights(self._before.graph, op), self._get_ends(pair))
        last = op.kind is OpKind.DEPTHWISE_CONV_2D
        found = measure_weights(graph, pair.after.op, weights, stored, last)
        return self._add_lost_bias(pair, found) if found.saturated else found

    def _add_lost_bias(self, pair: Pair, weights: Weights) -> Weights:
        """Put the saturated channel that lost most first, and tell what it lost."""
        bias = get_bias(self._before.graph, pair.before.op)
        given, written = self._get_ends(pair)
        stored = read_bias(self._after.graph, pair.after.op, given)
        if bias is None or bias.data is None or stored is None:
            return weights
        places = written or Places.keep(bias.data.size)
        needed, kept = places.spread(bias.data) / places.factors, stored / places.factors
        order = sorted(weights.saturated, key=lambda c: -abs(float(needed[c] - kept[c])))
        lost = float(needed[order[0]]), float(kept[order[0]])
        return replace(weights, saturated=tuple(order), lost_bias=lost)

    def _round(self, tensor: int, mine: int) -> Array:
        """Return the float values of a layer's input as its integers say them."""
        target, values = self._after.graph.tensors[tensor], self._before.live[mine]
        stored = quantize_images(self._gather(values, mine), target)
        real, places = dequantize_tensor(stored, target.quantization), self._places.get(mine)
        return real if places is None else places.restore(real, values)

    def _clip(self, pair: Pair, values: Array) -> Array:
        """Raise values of the float network to what the next layers tell apart."""
        return clip_unread(values, self._floors, pair.before.output)

    def _gather(self, values: Array, mine: int) -> Array:
        places = self._places.get(mine)
        return values if places is None else places.gather(values)

    def _restore(self, pair: Pair, stored: Array, expected: Array) -> Array:
        """Return what the quantized layer writes as the float network has it."""
        tensor = self._after.graph.tensors[pair.after.output]
        real = dequantize_tensor(stored, tensor.quantization)
        places = self._places.get(pair.before.output)
        return self._clip(pair, real if places is None else places.restore(real, expected))


def _sum_noise(expected: Array, actual: Array) -> float:
    return float(measure_powers(expected, actual).noise.mean())
