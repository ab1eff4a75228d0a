"""The float network on its way to the engine: what every float step takes and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import replace_constants
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import Ranges

Array = np.ndarray[Any, Any]


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
