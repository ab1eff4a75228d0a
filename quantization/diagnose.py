"""How well each layer of a quantized network follows the float one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.layers import get_activations, get_weights

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One layer with weights.

    Attributes:
        index: Index of the operation in the float network.
        name: Name of its output.
        op: TFLite name of the operation.
        sqnr_db: Signal-to-noise ratio of its output with everything before it quantized too;
            ``None`` where the output is always zero, or equal to the last bit.
        weight_range: Smallest and largest float weight.
        output_range: Range that the quantized output can express; of the values for float ones.
        clipped: Share of the output values at an end of that range beyond the float network's.
        repaired: Whether a repair was kept.
    """

    index: int
    name: str
    op: str
    sqnr_db: float | None
    weight_range: tuple[float, float]
    output_range: tuple[float, float]
    clipped: float
    repaired: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "index": self.index,
            "name": self.name,
            "op": self.op,
            "sqnr_db": self.sqnr_db,
            "weight_range": list(self.weight_range),
            "output_range": list(self.output_range),
            "clipped": self.clipped,
            "repaired": self.repaired,
        }


def describe_layer(
    graphs: tuple[Graph, Graph],
    ops: tuple[Op, Op],
    outputs: tuple[Array, Array],
    *,
    repaired: bool,
) -> LayerReport:
    """Compare one layer of the float and of the quantized network.

    Args:
        graphs: Both networks.
        ops: The layer in both.
        outputs: Its real outputs in both, equal shapes.
        repaired: Whether a repair was kept.
    """
    expected, actual = outputs
    weights = get_weights(graphs[0], ops[0]).data
    low, high = _find_range(graphs[1], ops[1], actual)
    beyond = (expected < low) | (expected > high)
    return LayerReport(
        index=ops[0].index,
        name=get_activations(graphs[0], ops[0])[1].name.partition(";")[0],
        op=ops[0].name,
        sqnr_db=measure_sqnr_db(expected, actual),
        weight_range=(0.0, 0.0) if weights is None else _bound(weights),
        output_range=(low, high),
        clipped=float(beyond.mean()),
        repaired=repaired,
    )


def measure_sqnr_db(expected: Array, actual: Array) -> float | None:
    """Return ``10 log10(signal power / noise power)``; ``None`` without signal or noise.

    >>> measure_sqnr_db(np.array([10.0, -10.0]), np.array([9.0, -9.0]))
    20.0
    >>> measure_sqnr_db(np.ones(2), np.ones(2)) is None
    True
    """
    signal = float(np.square(expected, dtype=np.float64).mean())
    noise = float(np.square(np.subtract(expected, actual, dtype=np.float64)).mean())
    if signal <= 0 or noise <= 0:
        return None
    return round(10 * math.log10(signal / noise), 2)


def _find_range(graph: Graph, op: Op, values: Array) -> tuple[float, float]:
    tensor = get_activations(graph, op)[1]
    if tensor.quantization is None:
        return _bound(values)
    info = np.iinfo(tensor.dtype)
    scale, zero = tensor.quantization.scales[0], tensor.quantization.zero_points[0]
    # Half a step beyond either end still rounds to it.
    return (info.min - 0.5 - zero) * scale, (info.max + 0.5 - zero) * scale


def _bound(values: Array) -> tuple[float, float]:
    return float(values.min(initial=0.0)), float(values.max(initial=0.0))
