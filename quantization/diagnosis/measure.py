"""Running both networks side by side and measuring every layer: alone, and behind all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.quantization.answers import quantize_images
from edgevision.quantization.constants import dequantize_tensor
from edgevision.quantization.diagnosis.evidence import LayerEvidence, Shares, Values, Weights
from edgevision.quantization.diagnosis.names import find_block, name_layers
from edgevision.quantization.diagnosis.pairing import (
    Pair,
    Side,
    feeds_softmax,
    find_constant,
    pair_networks,
)
from edgevision.quantization.diagnosis.powers import measure_powers
from edgevision.quantization.diagnosis.rescaling import (
    find_gain,
    read_weights,
    refine_gain,
    share_signs,
    undo_gains,
)
from edgevision.quantization.diagnosis.values import (
    find_gate,
    measure_ties,
    measure_values,
    measure_weights,
)
from edgevision.quantization.layers import WEIGHTED, get_bias
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]

# Unrelated weights share half of their signs.
_LEAST_SIGNS = 0.75


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

        def is_same(before: Side, after: Side) -> bool:
            return share_signs(graphs[0], graphs[1], (before.op, after.op)) >= _LEAST_SIGNS

        self.pairs = pair_networks(graphs[0], graphs[1], is_same)
        self._gains: dict[int, Array] = {}
        self._names = name_layers(
            [graphs[0].tensors[pair.before.output].name for pair in self.pairs],
            [pair.before.op.name for pair in self.pairs],
        )
        self._images = images
        self._measured: dict[int, Values] = {}
        self._before, self._after = walks

    @property
    def rescaled(self) -> int:
        """Layers whose channels were scaled before they were rounded, of those measured so far."""
        return len(self._gains)

    @property
    def unpaired(self) -> int:
        """Layers with weights that only one of both networks has."""
        paired = sum(pair.before.op.kind in WEIGHTED for pair in self.pairs)
        counts = [
            sum(op.kind in WEIGHTED for op in walk.graph.ops)
            for walk in (self._before, self._after)
        ]
        return sum(counts) - 2 * paired

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
        expected = plain[before.output]
        self._find_gain(pair, expected, actual[after.output])
        alone = self._restore(pair, self._run_alone(pair)[after.output])
        together = self._restore(pair, actual[after.output])
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
            op=after.op.name,
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

    def _find_gain(self, pair: Pair, expected: Array, stored: Array) -> None:
        """Learn by how much the quantizer scaled the channels that a layer writes."""
        gain = find_gain((self._before.graph, self._after.graph), pair, self._gains)
        if gain is None:
            return
        tensor = self._after.graph.tensors[pair.after.output]
        actual = dequantize_tensor(stored, tensor.quantization)
        self._gains[pair.before.output] = refine_gain(gain, expected, actual)

    def _run_alone(self, pair: Pair) -> dict[int, Array]:
        """Run the quantized layer on what the float network gives it."""
        given = {}
        for tensor, mine in pair.inputs.items():
            real = self._scale(self._before.live[mine], mine)
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
            outputs = self._before.try_ops(pair.before.last, constants)
            powers[0] = _measure_noise(expected, outputs[pair.before.output])
        rounded = {mine: self._round(tensor, mine) for tensor, mine in pair.inputs.items()}
        outputs = self._before.try_ops(pair.before.last, given=rounded)
        powers[1] = _measure_noise(expected, outputs[pair.before.output])
        tensor = self._after.graph.tensors[pair.after.output]
        scaled = self._scale(expected, pair.before.output)
        stored = quantize_images(scaled, tensor)
        back = self._restore(pair, stored)
        powers[2] = _measure_noise(expected, back)
        total = sum(powers)
        if total <= 0:
            return None
        weights, inputs, output = (round(power / total, 4) for power in powers)
        return Shares(weights=weights, inputs=inputs, output=output)

    def _read_constants(self, pair: Pair) -> dict[int, Array] | None:
        """Return the quantized weights and bias as constants of the float layer."""
        graph, op = self._before.graph, pair.before.op
        weights = find_constant(graph, op.inputs[1])
        stored = find_constant(self._after.graph, pair.after.op.inputs[1])
        if weights is None or stored is None or weights.dtype != "float32":
            return None
        (mine,) = list(pair.inputs.values())[:1]
        gains = self._gains.get(mine), self._gains.get(pair.before.output)
        real = undo_gains(op, read_weights(self._after.graph, pair.after.op), *gains)
        constants = {weights.index: real}
        biases = get_bias(graph, op), get_bias(self._after.graph, pair.after.op)
        if all(b is not None and b.data is not None for b in biases):
            constants |= self._read_bias(pair, gains[1])
        return constants

    def _read_bias(self, pair: Pair, gain: Array | None) -> dict[int, Array]:
        graph = self._after.graph
        mine = get_bias(self._before.graph, pair.before.op)
        bias = get_bias(graph, pair.after.op)
        if mine is None or bias is None or bias.data is None or mine.dtype != "float32":
            return {}
        real = _read_real_bias(pair.after.op, bias.data, graph.tensors, bias.quantization)
        return {mine.index: (real if gain is None else real / gain).astype(np.float32)}

    def _measure_inputs(self, pair: Pair) -> tuple[Values, ...]:
        for tensor, mine in pair.inputs.items():
            if tensor not in self._measured:  # it is no layer's output: the image, or rescaled
                target = self._after.graph.tensors[tensor]
                values = self._scale(self._before.live[mine], mine)
                self._measured[tensor] = measure_values(values, target)
        return tuple(self._measured[tensor] for tensor in pair.inputs)

    def _measure_output(self, pair: Pair, expected: Array) -> Values:
        tensor = self._after.graph.tensors[pair.after.output]
        values = self._scale(expected, pair.before.output)
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
        weights = read_weights(self._before.graph, op)
        (mine,) = list(pair.inputs.values())[:1]
        gains = [self._gains.get(t) for t in (mine, pair.before.output)]
        inverse = [None if gain is None else 1 / np.where(gain == 0, 1, gain) for gain in gains]
        weights = undo_gains(op, weights, *inverse)
        last = op.kind is OpKind.DEPTHWISE_CONV_2D
        found = measure_weights(graph, pair.after.op, weights, stored, last)
        return self._add_lost_bias(pair, found) if found.saturated else found

    def _add_lost_bias(self, pair: Pair, weights: Weights) -> Weights:
        """Put the saturated channel that lost most first, and tell what it lost."""
        bias = get_bias(self._before.graph, pair.before.op)
        kept = self._read_bias(pair, self._gains.get(pair.before.output))
        if bias is None or bias.data is None or bias.index not in kept:
            return weights
        needed, stored = bias.data, kept[bias.index]
        order = sorted(weights.saturated, key=lambda c: -abs(float(needed[c] - stored[c])))
        lost = float(needed[order[0]]), float(stored[order[0]])
        return replace(weights, saturated=tuple(order), lost_bias=lost)

    def _round(self, tensor: int, mine: int) -> Array:
        """Return the float values of a layer's input as its integers say them."""
        target = self._after.graph.tensors[tensor]
        values = self._scale(self._before.live[mine], mine)
        real = dequantize_tensor(quantize_images(values, target), target.quantization)
        gain = self._gains.get(mine)
        return real if gain is None else real / gain

    def _scale(self, values: Array, mine: int) -> Array:
        gain = self._gains.get(mine)
        return values if gain is None else values * gain

    def _restore(self, pair: Pair, stored: Array) -> Array:
        tensor = self._after.graph.tensors[pair.after.output]
        real = dequantize_tensor(stored, tensor.quantization)
        gain = self._gains.get(pair.before.output)
        return real if gain is None else real / gain


def _read_real_bias(op: Op, data: Array, tensors: Any, quantization: Any) -> Array:
    """Return a bias in float; some writers leave its scale out: input scale × weight scale."""
    if data.dtype.kind == "f":
        return np.asarray(data, np.float64)
    if quantization is not None:
        scales = np.asarray(quantization.scales, np.float64)
    else:
        parts = [tensors[op.inputs[i]].quantization for i in (0, 1)]
        scales = np.ones(1)
        for part in parts:
            scales = scales * np.asarray(part.scales if part else (1.0,), np.float64)
    return np.asarray(data * scales)


def _measure_noise(expected: Array, actual: Array) -> float:
    return float(measure_powers(expected, actual).noise.mean())
