"""How long one inference would take on an Edge TPU: an estimate, without device and compiler.

A sum of what the device computes, of the weights that do not fit into its memory and are streamed
over the bus at every inference, of the activations that it moves, of a cost per operation, and of
what stays on the host. The coefficients come from published measurements of sixteen networks (USB
accelerator on a desktop computer, table 1 of https://coral.ai/docs/edgetpu/benchmarks/) and are
fitted by ``benchmarks/peers/edgetpu_latency.py``, which also tells how far off the estimate is for
networks that were left out of the fit.
"""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from typing import Any

from edgevision.benchmarks.macs import count_macs
from edgevision.errors import UnsupportedOpError
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.edgetpu_rules import find_refusals
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind

SOURCE = "fitted to table 1 of https://coral.ai/docs/edgetpu/benchmarks/"

# What converters fold into its neighbours, or the device does in passing.
_FREE = frozenset(
    {
        OpKind.ACTIVATION,
        OpKind.BATCH_NORM,
        OpKind.CONSTANT,
        OpKind.DEQUANTIZE,
        OpKind.PAD,
        OpKind.QUANTIZE,
        OpKind.RESHAPE,
        OpKind.SOFTMAX,
    }
)
_SUPPRESSIONS = frozenset({OpKind.NMS, OpKind.DETECTION_POSTPROCESS})
# Of an element that an operation on the host writes: TFLite's plain 8-bit bilinear resizing on one
# x86 core takes 1.3 ns.
HOST_NS_PER_ELEMENT = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What an inference asks of the device.

    Attributes:
        giga_macs: Billions of multiply-accumulates.
        streamed_mb: Millions of weight bytes beyond the device's memory.
        hundred_ops: Hundreds of operations.
        moved_mb: Millions of activation bytes that operations write.
        detections: 1 where boxes are suppressed behind the network, otherwise 0.
    """

    giga_macs: float
    streamed_mb: float
    hundred_ops: float
    moved_mb: float
    detections: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimated latency in milliseconds.

    Attributes:
        value_ms: The estimate.
        low_ms: Lower end: of networks left out of the fit, nine of ten were within the range.
        high_ms: Upper end.
    """

    value_ms: float
    low_ms: float
    high_ms: float

    def __str__(self) -> str:
        return (
            f"estimated {self.value_ms:.1f} ms, between {self.low_ms:.1f} and {self.high_ms:.1f}, "
            "with a USB accelerator"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "source": SOURCE}


CACHE_MB = 6.5
"""Millions of weight bytes that stay on the device."""

COEFFICIENTS = Load(
    giga_macs=0.154, streamed_mb=1.920, hundred_ops=0.481, moved_mb=0.428, detections=3.497
)
"""Milliseconds per unit of a load."""

LOWEST, HIGHEST = 0.56, 1.59
"""Measured time as a share of the estimate, of networks left out of the fit: 5 % and 95 %."""


def estimate_latency(graph: Graph) -> Estimate:
    """Estimate one inference on a USB accelerator.

    Args:
        graph: A network that is not compiled yet, float or quantized; weights and activations
            count as one byte each.

    Raises:
        UnsupportedOpError: The file is compiled: what is in its program can not be seen.
    """
    if any(op.name == COMPILED_OP for op in graph.ops):
        raise UnsupportedOpError(
            "a compiled file does not tell what it computes",
            received=graph.name,
            remedy="estimate the file from before the compiler",
        )
    load, host_ms = measure_load(graph, cache_mb=CACHE_MB)
    value = host_ms + sum(a * b for a, b in zip(astuple(load), astuple(COEFFICIENTS), strict=True))
    return Estimate(value_ms=value, low_ms=LOWEST * value, high_ms=HIGHEST * value)


def measure_load(graph: Graph, *, cache_mb: float) -> tuple[Load, float]:
    """Return what the device has to do, and the milliseconds that the host needs.

    Args:
        graph: The network.
        cache_mb: Millions of weight bytes that stay on the device.
    """
    macs = count_macs(graph).per_op
    left = _find_host_ops(graph)
    device = [op for op in graph.ops if op.index not in left and op.kind not in _FREE]
    weights = {i for op in device for i in op.inputs if i >= 0 and graph.tensors[i].constant}
    weight_mb = sum(graph.tensors[i].size for i in weights) / 1e6
    host = [op for op in graph.ops if op.index in left and op.kind not in _SUPPRESSIONS]
    load = Load(
        giga_macs=sum(macs.get(op.index, 0) for op in device) / 1e9,
        streamed_mb=max(0.0, weight_mb - cache_mb),
        hundred_ops=len(device) / 100,
        moved_mb=sum(_count_written(graph, op) for op in device) / 1e6,
        detections=float(_detects(graph)),
    )
    return load, 1e-6 * HOST_NS_PER_ELEMENT * sum(_count_written(graph, op) for op in host)


def _find_host_ops(graph: Graph) -> set[int]:
    """Return what stays on the host; of a float network what its int8 form would leave there."""
    quantized = any(t.dtype in ("int8", "uint8") for t in graph.tensors if not t.constant)
    if quantized:
        return {refusal.op.index for refusal in find_refusals(graph)}
    return {op.index for op in graph.ops if _is_host_work(graph, op)}


def _is_host_work(graph: Graph, op: Op) -> bool:
    """Whether the compiler leaves this kind of operation to the host, whatever its types."""
    if op.kind in _SUPPRESSIONS or op.kind in (OpKind.ARG_MAX, OpKind.CUSTOM, OpKind.CAST):
        return True
    if op.kind is not OpKind.RESIZE:
        return False
    before, after = (_count_written(graph, op, side) for side in ("inputs", "outputs"))
    return after > _MAX_ENLARGED_AREA * max(before, 1)


# As in the placement rules: eightfold in each direction.
_MAX_ENLARGED_AREA = 64


def _count_written(graph: Graph, op: Op, side: str = "outputs") -> int:
    tensors = (graph.tensors[i] for i in getattr(op, side) if i >= 0)
    return sum(t.size for t in tensors if not t.constant)


def _detects(graph: Graph) -> bool:
    """Whether boxes come out, suppressed in the graph or by its reader."""
    if any(op.kind in _SUPPRESSIONS for op in graph.ops):
        return True
    outputs = next(iter(graph.signatures.values()), ({}, {}))[1]
    return any("box" in name for name in outputs)
