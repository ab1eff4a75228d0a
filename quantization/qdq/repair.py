"""Repairs a QDQ network layer by layer, beside the float one, as ``.tflite`` files are repaired.

Each layer sees the inputs that the repaired layers before it really give, and keeps a repair only
where its outputs come closer to the float network's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.blas import use_single_thread
from edgevision.quantization.diagnose import LayerReport, compare_layer
from edgevision.quantization.layers import Layer, find_layers, get_activations, get_weights
from edgevision.quantization.moments import Activation, measure_moments
from edgevision.quantization.qdq.layers import (
    QdqModel,
    Site,
    build_onnx_layer,
    find_site,
    store_onnx_layer,
)
from edgevision.quantization.qdq.network import OnnxNetwork
from edgevision.quantization.qdq.walk import OnnxWalk
from edgevision.quantization.repair import Repaired, measure_distance, pick_some
from edgevision.quantization.steps import (
    LAYER_STEPS,
    Step,
    StepReport,
    apply_steps,
    choose_layer_steps,
    time_layer_steps,
)
from edgevision.runtime.classify import dequantize
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]


def repair_onnx(
    network: OnnxNetwork,
    quantized: Any,
    images: Array,
    *,
    outputs: Sequence[str],
    steps: Sequence[Step] = tuple(LAYER_STEPS),
    rounding_seconds: float | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Repaired:
    """Repair a QDQ network.

    Args:
        network: The float network.
        quantized: ``ModelProto``, what the engine made of it.
        images: (N, *input shape) float32.
        outputs: Names of the tensors by which both are compared at the end.
        steps: Those of ``LAYER_STEPS`` to apply; none only measures the layers.
        rounding_seconds: That rounding may take; ``None`` for one solution.
        threads: Of the runtime.
        progress: Called after every layer.

    Returns:
        The repaired network, a copy: constants changed, structure untouched.
    """
    copy = type(quantized)()
    copy.CopyFrom(quantized)
    session = _Session(network, copy, images, outputs=outputs, steps=steps, threads=threads)
    session.give_time(rounding_seconds)
    for done, site in enumerate(session.sites):
        with use_single_thread():
            session.visit(site)
        if progress:
            progress("repairing layers", done + 1, len(session.sites))
    return session.finish(outputs)


class _Session:
    """Both networks on their way."""

    def __init__(
        self,
        network: OnnxNetwork,
        quantized: Any,
        images: Array,
        *,
        outputs: Sequence[str],
        steps: Sequence[Step],
        threads: int,
    ) -> None:
        self._view, self._graph = network.view, network.graph
        self._model = QdqModel(quantized)
        found = (find_site(self._model, self._graph, op) for op in find_layers(self._graph))
        self.sites = [site for site in found if site is not None]
        ends = [_name_ends(self._graph, site.op) for site in self.sites]
        own = [(site.source.name, site.output.name) for site in self.sites]
        self._float_walk, self._walk = (
            OnnxWalk(model, images, [*sum(names, ()), *outputs], threads=threads)
            for model, names in ((network.model, ends), (quantized, own))
        )
        self._steps = choose_layer_steps(steps)
        self._reports: list[LayerReport] = []
        self._seconds = dict.fromkeys(self._steps, 0.0)
        self._num_repaired = 0

    def give_time(self, seconds: float | None) -> None:
        """Let rounding take some time over all layers together."""
        sizes = [get_weights(self._graph, s.op).size for s in self.sites if s.is_repairable]
        self._steps = time_layer_steps(self._steps, seconds, num_weights=sum(sizes))

    def visit(self, site: Site) -> None:
        """Run up to a layer, repair it, and run it."""
        ends = _name_ends(self._graph, site.op)
        self._float_walk.read(ends[0])
        self._walk.read(site.source.name)
        expected = self._float_walk.read(ends[1])
        repaired = bool(self._steps) and site.is_repairable and self._repair(site, expected)
        self._report(site, expected, self._walk.read(site.output.name), repaired)
        self._float_walk.pass_by(ends)
        self._walk.pass_by((site.source.name, site.output.name))

    def finish(self, outputs: Sequence[str]) -> Repaired:
        """Run to the end."""
        return Repaired(
            model=self._model.model.SerializeToString(),
            layers=tuple(self._reports),
            steps=tuple(
                StepReport(step=name, layers=self._num_repaired, seconds=seconds)
                for name, seconds in self._seconds.items()
            ),
            expected=tuple(self._float_walk.read(name) for name in outputs),
            outputs=tuple(self._walk.read(name) for name in outputs),
        )

    def _repair(self, site: Site, expected: Array) -> bool:
        """Apply the steps to a layer; return whether the repair was kept."""
        layer = apply_steps(self._describe(site, expected), self._steps, self._seconds)
        constants = store_onnx_layer(self._model, site, layer)
        before = {name: self._model.read(name) for name in constants}
        some = pick_some(expected)
        plain = self._measure(site, self._walk.try_reading(site.output.name, some), expected[some])
        self._model.write(constants)
        outputs = self._walk.try_reading(site.output.name)
        if not self._measure(site, outputs[some], expected[some]) < plain:
            self._model.write(before)
            return False
        self._walk.keep(site.output.name, outputs)
        self._num_repaired += 1
        return True

    def _measure(self, site: Site, stored: Array, expected: Array) -> float:
        return measure_distance(expected, dequantize(stored, site.output.quantization))

    def _describe(self, site: Site, expected: Array) -> Layer:
        graph, op = self._graph, site.op
        source, output = get_activations(graph, op)
        sides = self._float_walk.read(source.name), self._walk.read(site.source.name)
        before, after, shown = (
            self._view.turn(tensor.index, values)[:, 0]
            for tensor, values in ((source, sides[0]), (source, sides[1]), (output, expected))
        )
        inputs = (
            Activation(values=before),
            Activation(values=after, quantization=site.source.quantization),
        )
        moments = measure_moments(
            op, get_weights(graph, op).shape, inputs, output=shown, seed=op.index
        )
        return build_onnx_layer(self._model, graph, site, moments=moments)

    def _report(self, site: Site, expected: Array, stored: Array, repaired: bool) -> None:
        some = pick_some(expected)
        quantization = site.output.quantization
        self._reports.append(
            compare_layer(
                self._graph,
                site.op,
                (expected[some], dequantize(stored[some], quantization)),
                output=(site.output.dtype, quantization),
                repaired=repaired,
            )
        )


def _name_ends(graph: Graph, op: Op) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in get_activations(graph, op))
