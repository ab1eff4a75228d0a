"""Repairs a quantized network layer by layer, beside the float one, on the same images.

Each layer sees the inputs that the repaired layers before it really give, so that it also takes
back what they left. A layer keeps its repair only where its outputs come closer to the float
network's; otherwise it stays as the engine made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Op
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import quantize_images
from edgevision.quantization.blas import use_single_thread
from edgevision.quantization.diagnose import LayerReport, compare_layer, measure_power
from edgevision.quantization.gates import clip_unread, find_floors
from edgevision.quantization.layers import (
    Layer,
    build_layer,
    find_layers,
    get_activations,
    get_weights,
    is_repairable,
)
from edgevision.quantization.moments import Activation, measure_moments
from edgevision.quantization.steps import (
    LAYER_STEPS,
    Step,
    StepReport,
    apply_steps,
    choose_layer_steps,
    time_layer_steps,
)
from edgevision.quantization.storage import Stored, store_layer
from edgevision.quantization.walk import Walk
from edgevision.runtime.classify import dequantize
from edgevision.specs import Progress, Quantization

Array = np.ndarray[Any, Any]

# Enough to tell which of two versions of a layer is better, and how good it is.
_CHECKED_IMAGES = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repaired:
    """A repaired network, and what was seen on the way.

    Attributes:
        model: Bytes of the quantized file.
        layers: How each layer came out.
        steps: What each step did.
        expected: (N, …) float32 for each output of the float network.
        outputs: (N, …) float32, what the repaired network answers instead.
    """

    model: bytes
    layers: tuple[LayerReport, ...]
    steps: tuple[StepReport, ...]
    expected: tuple[Array, ...]
    outputs: tuple[Array, ...]


def repair_network(
    models: tuple[bytes, bytes],
    images: Array,
    *,
    steps: Sequence[Step] = tuple(LAYER_STEPS),
    rounding_seconds: float | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Repaired:
    """Repair a quantized network layer by layer.

    Args:
        models: The float ``.tflite``, and what the engine made of it.
        images: (N, *input shape) float32, inputs of the float network.
        steps: Those of ``LAYER_STEPS`` to apply; none only measures the layers.
        rounding_seconds: That rounding may take; ``None`` for one solution.
        threads: Interpreters that share the images.
        progress: Called after every layer.

    Returns:
        The repaired network; constants changed, structure and scales untouched.
    """
    session = _Session(models, images, steps, threads)
    pairs = _pair_layers(session)
    session.give_time(rounding_seconds, [op for _, op in pairs])
    with ThreadPoolExecutor(1) as ahead:
        # The float network does not wait for repairs: its next layer runs beside them.
        coming = [ahead.submit(session.run_float, ops[0]) for ops in pairs[:1]]
        for done, ops in enumerate(pairs):
            seen = coming.pop().result()
            coming.extend(ahead.submit(session.run_float, p[0]) for p in pairs[done + 1 : done + 2])
            with use_single_thread():
                session.visit(ops, seen)
            if progress:
                progress("repairing layers", done + 1, len(pairs))
    return session.finish(models[1])


def _pair_layers(session: _Session) -> list[tuple[Op, Op]]:
    """Match the layers of both networks: the engine keeps their order and adds none."""
    float_ops, ops = find_layers(session.float_walk.graph), find_layers(session.walk.graph)
    if [op.kind for op in float_ops] != [op.kind for op in ops]:
        return []
    return list(zip(float_ops, ops, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One layer of the float network on all images.

    Attributes:
        given: (N, 1, …) what it read.
        expected: (N, 1, …) what it gave, as far as something reads it.
    """

    given: Array
    expected: Array


class _Session:
    """Both networks on their way, and the constants that were changed so far."""

    def __init__(
        self, models: tuple[bytes, bytes], images: Array, steps: Sequence[Step], threads: int
    ) -> None:
        quantized = read_tflite(models[1])
        tensor = quantized.tensors[quantized.inputs[0]]
        self.float_walk = Walk(models[0], images, threads)
        self.walk = Walk(models[1], quantize_images(images, tensor), threads)
        self._floors = find_floors(self.float_walk.graph)
        self._steps = choose_layer_steps(steps)
        self._stored = Stored()
        self._reports: list[LayerReport] = []
        self._seconds = dict.fromkeys(self._steps, 0.0)
        self._num_repaired = 0

    def give_time(self, seconds: float | None, ops: Sequence[Op]) -> None:
        """Let rounding of these layers of the quantized network take some time together."""
        graph = self.walk.graph
        sizes = [get_weights(graph, op).size for op in ops if is_repairable(graph, op)]
        self._steps = time_layer_steps(self._steps, seconds, num_weights=sum(sizes))

    def run_float(self, op: Op) -> Seen:
        """Run the float network up to a layer and past it."""
        self.float_walk.advance(op.index)
        source = get_activations(self.float_walk.graph, op)[0].index
        given = self.float_walk.live[source]
        outputs = self.float_walk.try_layer()
        self.float_walk.commit(outputs)
        target = op.outputs[0]
        return Seen(given=given, expected=clip_unread(outputs[target], self._floors, target))

    def visit(self, ops: tuple[Op, Op], seen: Seen) -> None:
        """Run the quantized network up to a layer, repair it, and run it."""
        self.walk.advance(ops[1].index)
        repaired = False
        if self._steps and is_repairable(self.walk.graph, ops[1]):
            outputs, repaired = self._repair(ops, seen)
        else:
            outputs = self.walk.try_layer()
        self._report(ops, seen.expected, outputs[ops[1].outputs[0]], repaired)
        self.walk.commit(outputs)

    def finish(self, quantized: bytes) -> Repaired:
        """Run to the end and write the constants."""
        for walk in (self.float_walk, self.walk):
            walk.advance(len(walk.graph.ops))
        return Repaired(
            model=self._stored.write(quantized),
            layers=tuple(self._reports),
            steps=tuple(
                StepReport(step=name, layers=self._num_repaired, seconds=seconds)
                for name, seconds in self._seconds.items()
            ),
            expected=_read_outputs(self.float_walk),
            outputs=_read_outputs(self.walk),
        )

    def _repair(self, ops: tuple[Op, Op], seen: Seen) -> tuple[dict[int, Array], bool]:
        """Apply the steps to a layer; return its outputs and whether the repair was kept."""
        graph, expected = self.walk.graph, seen.expected
        layer = apply_steps(self._describe(ops, seen), self._steps, self._seconds)
        stored = store_layer(graph, layer)
        target = ops[1].outputs[0]
        repaired = self.walk.try_layer(stored.constants, scales=stored.scales)
        some = pick_some(expected)
        plain = self.walk.try_layer(images=some)
        tensor = graph.tensors[target]
        before = measure_distance(expected[some], dequantize(plain[target], tensor.quantization))
        after = measure_distance(
            expected[some], dequantize(repaired[target][some], tensor.quantization)
        )
        if not after < before:
            return self.walk.try_layer(), False
        self._stored = self._stored.joined_with(stored)
        self._num_repaired += 1
        return repaired, True

    def _describe(self, ops: tuple[Op, Op], seen: Seen) -> Layer:
        graphs = (self.float_walk.graph, self.walk.graph)
        source = get_activations(graphs[1], ops[1])[0]
        inputs = (
            _to_activation(seen.given, None),
            _to_activation(self.walk.live[source.index], source.quantization),
        )
        shape = get_weights(graphs[1], ops[1]).shape
        output = seen.expected.reshape(-1, *seen.expected.shape[2:])
        moments = measure_moments(ops[0], shape, inputs, output=output, seed=ops[0].index)
        return build_layer(graphs, ops, moments)

    def _report(self, ops: tuple[Op, Op], expected: Array, stored: Array, repaired: bool) -> None:
        tensor = get_activations(self.walk.graph, ops[1])[1]
        some = pick_some(expected)
        pair = (expected[some], dequantize(stored[some], tensor.quantization))
        self._reports.append(
            compare_layer(
                self.float_walk.graph,
                ops[0],
                pair,
                output=(tensor.dtype, tensor.quantization),
                repaired=repaired,
            )
        )


def pick_some(values: Array) -> slice:
    """Return which images tell how good a layer is."""
    return slice(None, None, -(-len(values) // _CHECKED_IMAGES))


def _read_outputs(walk: Walk) -> tuple[Array, ...]:
    tensors = (walk.graph.tensors[index] for index in walk.graph.outputs)
    return tuple(dequantize(walk.live[t.index], t.quantization) for t in tensors)


def _to_activation(values: Array, quantization: Quantization | None) -> Activation:
    return Activation(values=values.reshape(-1, *values.shape[2:]), quantization=quantization)


def measure_distance(expected: Array, actual: Array) -> float:
    """Return the mean squared difference."""
    return measure_power(expected - actual)
