"""How well each layer of a quantized network follows the float one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.quantization.layers import get_activations, get_weights
from edgevision.specs import Quantization

Array = np.ndarray[Any, Any]

_BLOCK = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One layer with weights.

    Attributes:
        index: Index of the operation in the float network.
        name: Name of its output.
        op: Name of the operation in its format.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputReport:
    """One output of the network.

    Attributes:
        name: Of the output.
        sqnr_db: Signal-to-noise ratio; ``None`` where it is always zero, or equal to the last bit.
    """

    name: str
    sqnr_db: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"name": self.name, "sqnr_db": self.sqnr_db}


def compare_layer(
    graph: Graph,
    op: Op,
    outputs: tuple[Array, Array],
    *,
    output: tuple[str, Quantization | None],
    repaired: bool,
) -> LayerReport:
    """Compare one layer of the float and of the quantized network.

    Args:
        graph: The float network.
        op: The layer.
        outputs: Its real outputs in both, equal shapes.
        output: How the quantized network stores them: type, and scale of integers.
        repaired: Whether a repair was kept.
    """
    expected, actual = outputs
    weights = get_weights(graph, op).data
    low, high = _find_range(*output, actual)
    beyond = (expected < low) | (expected > high)
    return LayerReport(
        index=op.index,
        name=get_activations(graph, op)[1].name.partition(";")[0],
        op=op.name,
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
    signal, noise = measure_power(expected), measure_power(expected - actual)
    if signal <= 0 or noise <= 0:
        return None
    return round(10 * math.log10(signal / noise), 2)


def measure_power(values: Array) -> float:
    """Return the mean square; blocks are summed in double precision, without a copy of the whole.

    >>> measure_power(np.array([3.0, -4.0]))
    12.5
    """
    flat = values.reshape(-1)
    blocks = (flat[i : i + _BLOCK] for i in range(0, flat.size, _BLOCK))
    return sum(float(np.dot(block, block)) for block in blocks) / max(flat.size, 1)


def measure_outputs(
    names: Sequence[str], expected: Sequence[Array], actual: Sequence[Array]
) -> tuple[OutputReport, ...]:
    """Compare each output of both networks by itself.

    Args:
        names: Of the outputs.
        expected: (N, …) for each output of the float network.
        actual: The same of the quantized one.
    """
    rows = zip(names, expected, actual, strict=True)
    return tuple(OutputReport(name=n, sqnr_db=measure_sqnr_db(e, a)) for n, e, a in rows)


def measure_error(expected: Sequence[Array], actual: Sequence[Array]) -> float:
    """Return the mean over the outputs of ``noise power / signal power``.

    Outputs count alike, whatever their scale: boxes are not drowned by scores, nor scores by boxes.

    >>> measure_error([np.array([10.0, -10.0])], [np.array([9.0, -9.0])])
    0.01
    """
    shares = []
    for one, other in zip(expected, actual, strict=True):
        signal, noise = measure_power(one), measure_power(one - other)
        shares.append(noise / max(signal, float(np.finfo(np.float64).tiny)))
    return float(np.mean(shares))


def measure_total_sqnr_db(expected: Sequence[Array], actual: Sequence[Array]) -> float | None:
    """Return the signal-to-noise ratio of all outputs together, each in its own scale.

    ``None`` where an only output has no signal, or where nothing differs.
    """
    if len(expected) == 1:
        return measure_sqnr_db(expected[0], actual[0])
    error = measure_error(expected, actual)
    return round(-10 * math.log10(error), 2) if error > 0 else None


def _find_range(
    dtype: str, quantization: Quantization | None, values: Array
) -> tuple[float, float]:
    if quantization is None:
        return _bound(values)
    info = np.iinfo(dtype)
    scale, zero = quantization.scales[0], quantization.zero_points[0]
    # Half a step beyond either end still rounds to it.
    return (info.min - 0.5 - zero) * scale, (info.max + 0.5 - zero) * scale


def _bound(values: Array) -> tuple[float, float]:
    return float(values.min(initial=0.0)), float(values.max(initial=0.0))
