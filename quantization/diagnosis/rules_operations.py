"""Causes in operations without weights: sums, concatenations, softmax, gates, pools, hard swish."""

from __future__ import annotations

import math

from edgevision.graph.ops import OpKind
from edgevision.quantization.diagnosis.evidence import LayerEvidence, Values
from edgevision.quantization.diagnosis.thresholds import SOUND_DB, is_below, is_weak

_LEAST_RATIO = 4.0
# What a part keeps of itself; at 10 dB a third of its amplitude is noise.
_LEAST_PART_DB = 20.0
_LEAST_TERM_DB = 10.0
_COARSE_LOGITS = 0.25
_POOLS = (OpKind.AVERAGE_POOL, OpKind.GLOBAL_POOL, OpKind.REDUCE)
_KERNEL_LOSS_DB = 6.0


def find_shared_scale(layer: LayerEvidence) -> str | None:
    """A concatenation whose smallest part gets few of the codes of the whole."""
    if layer.kind is not OpKind.CONCAT or not layer.output.bits or len(layer.inputs) < 2:
        return None
    parts = [(_measure_part_db(v, layer.output.step), i) for i, v in enumerate(layer.inputs)]
    least, place = min(parts)
    part, widest = layer.inputs[place], max(v.reach for v in layer.inputs)
    if least >= _LEAST_PART_DB or part.reach * _LEAST_RATIO > widest:
        return None
    return (
        f"part {place + 1} of {len(parts)} stays within {part.low:.2g} … {part.high:.2g}, the "
        f"shared range reaches {widest:.3g}: {_count_codes(part, layer.output.step)} of "
        f"{2**layer.output.bits} codes are left for it, at {least:.0f} dB"
    )


def find_unequal_terms(layer: LayerEvidence) -> str | None:
    """A sum in which one term is hardly larger than a step of the other."""
    if layer.kind not in (OpKind.ADD, OpKind.SUB) or len(layer.inputs) != 2:
        return None
    small, large = sorted(layer.inputs, key=lambda v: v.reach)
    step = math.hypot(large.step, layer.output.step)
    kept = _measure_part_db(small, step)
    if not layer.output.bits or kept >= _LEAST_TERM_DB or small.reach * _LEAST_RATIO > large.reach:
        return None
    return (
        f"one term stays within {small.low:.2g} … {small.high:.2g}, the other reaches "
        f"{large.reach:.3g}: the smaller one keeps {_count_codes(small, layer.output.step)} of "
        f"{2**layer.output.bits} codes in the sum, at {kept:.0f} dB"
    )


def find_coarse_logits(layer: LayerEvidence) -> str | None:
    """A softmax whose inputs come in steps that change the probabilities much."""
    if layer.kind is not OpKind.SOFTMAX or not layer.inputs or not layer.inputs[0].bits:
        return None
    logits = layer.inputs[0]
    if logits.step < _COARSE_LOGITS or not (layer.ties or is_weak(layer)):
        return None
    ties = f", and in {layer.ties:.0%} of the rows the two best are equal" if layer.ties else ""
    return (
        f"the logits reach from {logits.low:.3g} to {logits.high:.3g} in steps of "
        f"{logits.step:.2g}: neighbouring codes differ by a factor of "
        f"{math.exp(min(logits.step, 50.0)):.2g} in probability{ties}"
    )


def find_narrow_gate(layer: LayerEvidence) -> str | None:
    """A multiplication by one value per channel that uses few of its codes."""
    if layer.gate < 0 or not is_weak(layer):
        return None
    gate = layer.inputs[layer.gate]
    if not gate.bits or not is_below(gate.sqnr_db, SOUND_DB):
        return None
    return (
        f"the gates lie within {gate.low:.2g} … {gate.high:.2g} of the range "
        f"{gate.range[0]:.2g} … {gate.range[1]:.2g}: {gate.codes} of {2**gate.bits} codes, at "
        f"{gate.sqnr_db:.0f} dB, scale whole channels"
    )


def find_pooled_range(layer: LayerEvidence) -> str | None:
    """A mean whose values are small beside the range it takes over from its input."""
    if layer.kind not in _POOLS or not layer.output.bits:
        return None
    values = layer.output
    width, seen = values.range[1] - values.range[0], values.high - values.low
    if width < _LEAST_RATIO * seen or not is_below(values.sqnr_db, SOUND_DB):
        return None
    return (
        f"means stay within {values.low:.2g} … {values.high:.2g} of the range "
        f"{values.range[0]:.3g} … {values.range[1]:.3g}: {values.codes} of {2**values.bits} codes "
        f"are used, at {values.sqnr_db:.0f} dB"
    )


def find_hard_swish(layer: LayerEvidence) -> str | None:
    """A hard swish that loses more than rounding its input and output does."""
    if layer.op != "HARD_SWISH" or layer.local_sqnr_db is None or not layer.output.bits:
        return None
    rounding = layer.output.sqnr_db
    weak = is_weak(layer)
    if not weak or (rounding is not None and layer.local_sqnr_db > rounding - _KERNEL_LOSS_DB):
        return None
    alone = "no error" if rounding is None else f"{rounding:.0f} dB"
    return (
        f"the layer alone keeps {layer.local_sqnr_db:.0f} dB, rounding its output would leave "
        f"{alone}: what it makes of values below zero stays within 0.38, in steps of "
        f"{layer.output.step:.2g}"
    )


def _measure_part_db(values: Values, step: float) -> float:
    """Return the signal-to-noise ratio of values in steps of another tensor."""
    noise = step * step / 12
    if noise <= 0 or values.power <= 0:
        return math.inf
    return 10 * math.log10(values.power / noise)


def _count_codes(values: Values, step: float) -> int:
    return round((values.high - values.low) / step) + 1 if step > 0 else 0
