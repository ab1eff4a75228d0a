"""What is measured of one layer, float and quantized, before anybody claims a cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgevision.graph.ops import OpKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What one activation held in the float network, and what its integers can express.

    Attributes:
        low: Smallest float value.
        high: Largest float value.
        bound: 99.9 % of the absolute values lie below it.
        range: Range of the integers; the float one where it stayed float.
        step: Between two integers; 0 where it stayed float.
        bits: Of the integers; 0 where it stayed float.
        codes: How many different integers occur once the float values are rounded.
        clipped: Share of the float values beyond the range.
        clipping: Share that clipping has of the error that rounding and clipping make together.
        sqnr_db: Of rounding the float values to these integers; ``None`` without error or signal.
        channel_sqnr_db: Median of the same over the channels.
        power: Mean square of the float values.
        reaches: (C,) largest absolute value of each channel.
        constant: Channels (last axis) that hold one value on all images, by number.
        softmax_next: Whether it is read by a softmax, so that low values do not matter.
    """

    low: float
    high: float
    bound: float
    range: tuple[float, float]
    step: float
    bits: int
    codes: int
    clipped: float
    clipping: float
    sqnr_db: float | None
    channel_sqnr_db: float | None
    power: float
    reaches: tuple[float, ...]
    constant: tuple[int, ...]
    softmax_next: bool = False

    @property
    def reach(self) -> float:
        """Largest absolute value."""
        return max(-self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; of the channels only how far they spread."""
        return {
            "seen": [self.low, self.high],
            "range": list(self.range),
            "step": self.step,
            "bits": self.bits,
            "codes": self.codes,
            "clipped": self.clipped,
            "sqnr_db": self.sqnr_db,
            "channel_spread": measure_spread(self.reaches),
            "constant_channels": len(self.constant),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights of one layer.

    Attributes:
        bits: Of the stored integers; 0 where they stayed float.
        per_tensor: Whether several output channels share one scale.
        step: Median of the channels' steps.
        reaches: (O,) largest absolute float weight of each output channel.
        saturated: Output channels whose bias is at the end of its integers, by number; the one that
            lost most comes first.
        lost_bias: What the bias of that one should be, and what is stored.
    """

    bits: int
    per_tensor: bool
    step: float
    reaches: tuple[float, ...]
    saturated: tuple[int, ...] = ()
    lost_bias: tuple[float, float] = (0.0, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "bits": self.bits,
            "per_tensor": self.per_tensor,
            "range": max(self.reaches, default=0.0),
            "channel_spread": measure_spread(self.reaches),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Where the noise of one layer alone comes from; together 1.

    Attributes:
        weights: From weights and biases as stored.
        inputs: From rounding the inputs.
        output: From rounding the output.
    """

    weights: float
    inputs: float
    output: float

    def to_dict(self) -> dict[str, float]:
        """Return JSON-ready values."""
        return {"weights": self.weights, "inputs": self.inputs, "output": self.output}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEvidence:
    """One layer, in both networks, on the same images.

    Attributes:
        index: Of the operation in the quantized network.
        name: For people.
        block: The block it belongs to; empty where its name does not tell.
        op: TFLite name of the operation.
        kind: The same in the vocabulary of all formats.
        local_sqnr_db: Signal-to-noise ratio of the output with this layer alone quantized.
        sqnr_db: The same with everything before it quantized too.
        channel_sqnr_db: Median over the output channels of the local figure: one loud channel hides
            what the others lost.
        shift: Share of the local noise that is a constant in each channel.
        shares: Where the local noise comes from.
        inputs: The activations it reads.
        output: What it writes.
        weights: ``None`` without.
        ties: Of a softmax, the share of rows whose two largest inputs are rounded to one value.
        gate: Which input is one value per channel that scales the other one, -1 without.
    """

    index: int
    name: str
    block: str
    op: str
    kind: OpKind
    local_sqnr_db: float | None
    sqnr_db: float | None
    channel_sqnr_db: float | None
    shift: float
    shares: Shares | None
    inputs: tuple[Values, ...]
    output: Values
    weights: Weights | None = None
    ties: float = 0.0
    gate: int = -1

    @property
    def worst_db(self) -> float | None:
        """The smaller of both local figures: of the whole output, and of the median channel."""
        figures = [self.local_sqnr_db]
        # A softmax gives nearly every class less than one step: that is nobody's fault.
        if self.kind is not OpKind.SOFTMAX:
            figures.append(self.channel_sqnr_db)
        return min((f for f in figures if f is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "index": self.index,
            "name": self.name,
            "block": self.block,
            "op": self.op,
            "local_sqnr_db": self.local_sqnr_db,
            "sqnr_db": self.sqnr_db,
            "channel_sqnr_db": self.channel_sqnr_db,
            "worst_db": self.worst_db,
            "mean_shift": self.shift,
            "noise_shares": self.shares.to_dict() if self.shares else None,
            "weights": self.weights.to_dict() if self.weights else None,
            "inputs": [values.to_dict() for values in self.inputs],
            "output": self.output.to_dict(),
        }


def measure_spread(reaches: tuple[float, ...]) -> float | None:
    """Return the widest channel over the median one; ``None`` where most channels are silent.

    >>> measure_spread((1.0, 2.0, 40.0))
    20.0
    """
    middle = find_median(reaches)
    return max(reaches) / middle if middle > 0 else None


def find_median(values: tuple[float, ...]) -> float:
    """Return the median, the lower one of two; 0 without values.

    >>> find_median((3.0, 1.0, 2.0, 9.0))
    2.0
    """
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2] if ordered else 0.0
