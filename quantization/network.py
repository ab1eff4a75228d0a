"""The float network on its way to the engine: what every float step takes and returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from edgevision.graph.flatbuffer import extract_outputs, replace_constants
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.answers import run_network
from edgevision.quantization.calibrate import Ranges

Array = np.ndarray[Any, Any]


class FloatNetwork(Protocol):
    """A float network with one image input, of any format, in TFLite's terms.

    Attributes:
        graph: The network: weights as TFLite stores them, channels last.
        ranges: Range of every float activation by tensor index; empty before calibration.
    """

    @property
    def graph(self) -> Graph:
        """The network."""

    @property
    def ranges(self) -> Ranges:
        """Range of every float activation by tensor index."""

    def with_constants(self: N, constants: Mapping[int, Array]) -> N:
        """Return the network with other values of constants, by tensor index."""

    def with_ranges(self: N, ranges: Ranges) -> N:
        """Return the network with other ranges."""

    def run(self, images: Array, tensors: Sequence[int], *, threads: int = 1) -> tuple[Array, ...]:
        """Return what tensors hold, (N, *shape) each, for (N, *input shape) float32 images."""


N = TypeVar("N", bound=FloatNetwork)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A float network with one image input.

    Attributes:
        model: Bytes of the ``.tflite``.
        graph: The same, read.
        ranges: Range of every float activation by tensor index; empty before calibration.
    """

    model: bytes
    graph: Graph
    ranges: Ranges = field(default_factory=dict)

    def with_model(self, model: bytes) -> Network:
        """Return the network with another model: tensors keep their indices and ranges."""
        return replace(self, model=model, graph=read_tflite(model))

    def with_constants(self, constants: Mapping[int, Array]) -> Network:
        """Return the network with other values of constants, by tensor index."""
        return self.with_model(replace_constants(self.model, constants)) if constants else self

    def with_ranges(self, ranges: Ranges) -> Network:
        """Return the network with other ranges."""
        return replace(self, ranges=ranges)

    def run(self, images: Array, tensors: Sequence[int], *, threads: int = 1) -> tuple[Array, ...]:
        """Return what tensors hold, (N, *shape) each, for (N, *input shape) float32 images."""
        computed = [t for t in tensors if t not in self.graph.inputs]
        if not computed:
            return (images,) * len(tensors)
        part = extract_outputs(self.model, computed)
        values = dict(zip(computed, run_network(part, images, threads=threads), strict=True))
        return tuple(values.get(t, images) for t in tensors)
