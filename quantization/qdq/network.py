"""The float ONNX network on its way to the engine, as the float steps take and return it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph
from edgevision.quantization.calibrate import Ranges
from edgevision.quantization.qdq.runs import run_onnx
from edgevision.quantization.qdq.view import View, restore_constant, view_onnx

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OnnxNetwork:
    """A float ONNX network with one image input; a ``FloatNetwork``.

    Attributes:
        model: ``ModelProto``, from ``normalize_onnx``.
        view: The same in TFLite's terms.
        ranges: Range of every float activation by tensor index; empty before calibration.
    """

    model: Any
    view: View
    ranges: Ranges = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The network in TFLite's terms."""
        return self.view.graph

    def with_constants(self, constants: Mapping[int, Array]) -> OnnxNetwork:
        """Return the network with other values of constants, by tensor index."""
        from onnx import numpy_helper

        if not constants:
            return self
        model = type(self.model)()
        model.CopyFrom(self.model)
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for index, values in constants.items():
            name = self.graph.tensors[index].name
            restored = restore_constant(self.graph, index, values)
            stored[name].CopyFrom(numpy_helper.from_array(restored, name))
        return replace(self, model=model, view=view_onnx(model))

    def with_ranges(self, ranges: Ranges) -> OnnxNetwork:
        """Return the network with other ranges."""
        return replace(self, ranges=ranges)

    def run(self, images: Array, tensors: Sequence[int], *, threads: int = 1) -> tuple[Array, ...]:
        """Return what tensors hold, (N, *shape) each, for (N, *input shape) float32 images."""
        computed = [t for t in tensors if t not in self.graph.inputs]
        names = [self.graph.tensors[t].name for t in computed]
        found = run_onnx(self.model, images, names, threads=threads) if names else ()
        values = dict(zip(computed, found, strict=True))
        return tuple(self.view.turn(t, values.get(t, images)) for t in tensors)


def open_network(model: Any) -> OnnxNetwork:
    """Read a float model, before its ranges are measured."""
    return OnnxNetwork(model=model, view=view_onnx(model))
