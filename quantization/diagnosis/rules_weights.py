"""Causes that lie in the weights and biases of a layer."""

from __future__ import annotations

from edgevision.quantization.diagnosis.evidence import LayerEvidence, Weights, find_median
from edgevision.quantization.diagnosis.thresholds import is_weak

_LEAST_RATIO = 4.0
_MOST = 0.5
_COVERED = 1.5


def find_spread_weights(layer: LayerEvidence) -> str | None:
    """One scale for all output channels leaves most of them with few steps."""
    weights = _get_noisy_weights(layer)
    if weights is None or not weights.per_tensor:
        return None
    alive = _list_alive(layer, weights)
    middle, widest = find_median(alive), max(alive, default=0.0)
    if widest < _LEAST_RATIO * middle or not alive:
        return None
    steps = _count_steps(middle, weights)
    return (
        f"one scale serves {len(weights.reaches)} channels whose weights reach from "
        f"{min(alive):.2g} to {widest:.2g}: half of them get {steps} or fewer of "
        f"{2**weights.bits - 1} steps"
    )


def find_dead_weights(layer: LayerEvidence) -> str | None:
    """The widest weights belong to a channel whose output never changes."""
    weights = _get_noisy_weights(layer)
    if weights is None or not weights.per_tensor:
        return None
    widest = weights.reaches.index(max(weights.reaches))
    alive = _list_alive(layer, weights)
    if widest not in layer.output.constant or not alive:
        return None
    if weights.reaches[widest] < _LEAST_RATIO * max(alive):
        return None
    if weights.reaches[widest] > _COVERED * weights.step * 2 ** (weights.bits - 1):
        return None  # the scale is not made for it: somebody took it out
    return (
        f"the output of channel {widest} never changes, yet its weights reach "
        f"{weights.reaches[widest]:.2g}; those of the others stay below {max(alive):.2g} and get "
        f"{_count_steps(max(alive), weights)} of {2**weights.bits - 1} steps"
    )


def find_full_bias(layer: LayerEvidence) -> str | None:
    """A bias needs more steps of input scale × weight scale than its integers have."""
    if layer.weights is None or not layer.weights.saturated or not is_weak(layer):
        return None
    channels, (needed, stored) = layer.weights.saturated, layer.weights.lost_bias
    others = f", and {len(channels) - 1} more channels lose theirs" if len(channels) > 1 else ""
    return (
        f"the bias of channel {channels[0]} should be {needed:.2g} and is {stored:.2g}, the end of "
        f"its 32 bits: its step is input scale × weight scale, and the weights are tiny{others}"
    )


def find_mean_shift(layer: LayerEvidence) -> str | None:
    """Most of the layer's own noise is a constant in each channel."""
    weights = _get_noisy_weights(layer)
    if weights is None or layer.shift < _MOST:
        return None
    if weights.saturated:  # that is the cause, and no correction fits into such a bias
        return None
    return (
        f"{layer.shift:.0%} of the noise is a constant that rounding adds to each channel, the "
        "same on every image"
    )


def find_rounded_weights(layer: LayerEvidence) -> str | None:
    """Rounding the weights makes most of the noise."""
    weights = _get_noisy_weights(layer)
    if weights is None or layer.shares is None:
        return None
    return (
        f"{layer.shares.weights:.0%} of the noise comes from rounding the weights: alone, the "
        f"layer keeps {_say(layer.local_sqnr_db)}"
    )


def _get_noisy_weights(layer: LayerEvidence) -> Weights | None:
    """Return the weights of a weak layer that make most of its noise."""
    if layer.weights is None or layer.shares is None or not layer.weights.bits:
        return None
    noisy = is_weak(layer) and layer.shares.weights >= _MOST
    return layer.weights if noisy else None


def _list_alive(layer: LayerEvidence, weights: Weights) -> tuple[float, ...]:
    """List how far the weights of the channels reach whose output changes."""
    dead = set(layer.output.constant)
    return tuple(r for c, r in enumerate(weights.reaches) if c not in dead)


def _count_steps(reach: float, weights: Weights) -> int:
    return 2 * round(reach / weights.step) + 1


def _say(figure: float | None) -> str:
    return "nothing" if figure is None else f"{figure:.0f} dB"
