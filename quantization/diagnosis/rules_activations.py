"""Causes that lie in the values of an activation: outliers, clipping, ranges, bits."""

from __future__ import annotations

from edgevision.graph.ops import OpKind
from edgevision.quantization.diagnosis.evidence import LayerEvidence, Values
from edgevision.quantization.diagnosis.thresholds import SOUND_DB, is_below, is_weak

_OUTLIERS_PER_CHANNELS = 32
_LEAST_RATIO = 4.0
_MOST_CLIPPING = 0.5
_HEAVY_TAIL = 2.0
# Integer kernels take the scale over from what they read, or have a fixed one.
_TAKEN_OVER = (
    *(OpKind.AVERAGE_POOL, OpKind.MAX_POOL, OpKind.GLOBAL_POOL, OpKind.REDUCE, OpKind.CONCAT),
    *(OpKind.RESHAPE, OpKind.PAD, OpKind.RESIZE, OpKind.SLICE, OpKind.SPLIT, OpKind.TRANSPOSE),
    OpKind.GATHER,
)
_FIXED = ("SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")


def find_outlier_channel(layer: LayerEvidence) -> str | None:
    """A few channels reach far beyond the others, which are left with few codes."""
    found = _split_outliers(layer)
    if found is None:
        return None
    loud, others = found
    if set(loud) & set(layer.output.constant):
        return None
    values = layer.output
    share = 1 - others / values.reach
    named = f"channel {loud[0]} reaches" if len(loud) == 1 else f"{len(loud)} channels reach"
    serve = "one channel" if len(loud) == 1 else f"{len(loud)} of {len(values.reaches)}"
    return (
        f"{named} {values.reach:.3g}, the others stay below {others:.3g}: "
        f"{share:.0%} of the codes serve {serve}, and the median channel keeps "
        f"{values.channel_sqnr_db:.0f} dB"
    )


def find_constant_channel(layer: LayerEvidence) -> str | None:
    """A channel that holds one value on all images reaches far beyond the others."""
    values = layer.output
    found = _split_outliers(layer)
    if found is None:
        return None
    loud, others = found
    dead = sorted(set(loud) & set(values.constant))
    if not dead:
        return None
    return (
        f"channel {dead[0]} holds {values.reaches[dead[0]]:.3g} on every image, the channels that "
        f"change stay below {others:.3g}: the median channel keeps {values.channel_sqnr_db:.0f} dB"
    )


def find_clipping(layer: LayerEvidence) -> str | None:
    """Values beyond the range make most of the error."""
    values = layer.output
    if layer.kind in _TAKEN_OVER or not is_below(values.sqnr_db, SOUND_DB):
        return None
    return describe_clipping(values)


def describe_clipping(values: Values) -> str | None:
    """Say how much of a tensor lies beyond its range, where that makes most of the error."""
    if not values.bits or values.clipping < _MOST_CLIPPING:
        return None
    return (
        f"{values.clipped:.2%} of the values lie beyond the range "
        f"{values.range[0]:.3g} … {values.range[1]:.3g}, from {values.low:.3g} to "
        f"{values.high:.3g}: clipping makes {values.clipping:.0%} of the rounding error"
    )


def find_wide_range(layer: LayerEvidence) -> str | None:
    """The range was measured on something else: most codes are never used."""
    if layer.kind in _TAKEN_OVER or layer.op in _FIXED:
        return None
    values = layer.output
    if not is_below(values.sqnr_db, SOUND_DB):
        return None
    return describe_wide_range(values)


def describe_wide_range(values: Values) -> str | None:
    """Say how little of its range a tensor uses, where that is less than a quarter."""
    width, seen = values.range[1] - values.range[0], values.high - values.low
    if not values.bits or width <= _LEAST_RATIO * seen:
        return None
    return (
        f"the range is {values.range[0]:.3g} … {values.range[1]:.3g}, the values stay within "
        f"{values.low:.3g} … {values.high:.3g}: {values.codes} of {2**values.bits} codes are used"
    )


def find_too_few_bits(layer: LayerEvidence) -> str | None:
    """A range that fits, and values that spread too far within it for 8 bits."""
    shares = layer.shares
    if not is_weak(layer) or shares is None or shares.inputs + shares.output < 0.5:
        return None
    tensors = [layer.output] if shares.output >= shares.inputs else list(layer.inputs)
    for values in tensors:
        coarse = values.bits == 8 and is_below(values.sqnr_db, SOUND_DB)
        if coarse and values.bound * _HEAVY_TAIL < values.reach:
            which = "the outputs" if values is layer.output else "the inputs"
            return (
                f"{which} reach {values.reach:.3g}, yet 99.9 % stay below {values.bound:.3g}: "
                f"in steps of {values.step:.2g} they keep {values.sqnr_db:.0f} dB"
            )
    return None


def _split_outliers(layer: LayerEvidence) -> tuple[list[int], float] | None:
    """Return the loudest channels and how far the others reach, where that hurts the others."""
    values = layer.output
    if layer.op in _FIXED or layer.kind in _TAKEN_OVER:
        return None
    if not values.bits or not is_below(values.channel_sqnr_db, SOUND_DB) or values.softmax_next:
        return None
    count = len(values.reaches)
    few = max(1, count // _OUTLIERS_PER_CHANNELS)
    if count < 4:
        return None
    order = sorted(range(count), key=lambda c: -values.reaches[c])
    others = values.reaches[order[few]]
    loud = [c for c in order[:few] if values.reaches[c] > _LEAST_RATIO * others]
    return (loud, others) if loud and others > 0 else None
