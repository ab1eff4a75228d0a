"""The steps between a float network and an integer one, as a table.

Each is a pure function in a file of its own; they compose, and each can be switched off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, cast

import numpy as np

from edgevision.errors import InvalidConfigError
from edgevision.quantization.activation_equalization import equalize_activations
from edgevision.quantization.added_channels import add_channels
from edgevision.quantization.bias import correct_layer
from edgevision.quantization.bias_absorption import absorb_biases
from edgevision.quantization.compensation import compensate_layer
from edgevision.quantization.dead_channels import remove_dead_channels
from edgevision.quantization.layers import Layer, LayerStep
from edgevision.quantization.logit_clipping import clip_logits
from edgevision.quantization.network import N, Network
from edgevision.quantization.restarts import RoundingTime
from edgevision.quantization.rewrites.constant_arithmetic import fold_constants
from edgevision.quantization.rewrites.global_pooling import replace_global_pooling
from edgevision.quantization.rewrites.hard_swish import expand_hard_swish
from edgevision.quantization.rewrites.no_ops import remove_no_ops
from edgevision.quantization.rounding import round_layer
from edgevision.quantization.spare_channels import use_spare_channels
from edgevision.quantization.weight_equalization import equalize_weights
from edgevision.specs import Scheme, parse_choice

Array = np.ndarray[Any, Any]

Rewrite = Callable[[Network], tuple[Network, int]]
"""Another form of the same float network, before ranges are measured, and how often it applied."""


class FloatStep(Protocol):
    """From a network with ranges and some inputs (N, *input shape) to one, and what it changed."""

    def __call__(self, network: N, images: Array, /) -> tuple[N, int]:
        """Return the changed network, and the number of places that changed."""


class Step(StrEnum):
    """What can be done to keep the float network's answers, in the order of application."""

    NO_OPS = "no_ops"
    GLOBAL_POOLING = "global_pooling"
    HARD_SWISH = "hard_swish"
    CONSTANT_ARITHMETIC = "constant_arithmetic"
    DEAD_CHANNELS = "dead_channels"
    WEIGHT_EQUALIZATION = "weight_equalization"
    BIAS_ABSORPTION = "bias_absorption"
    ACTIVATION_EQUALIZATION = "activation_equalization"
    ADDED_CHANNELS = "added_channels"
    SPARE_CHANNELS = "spare_channels"
    LOGIT_CLIPPING = "logit_clipping"
    COMPENSATION = "compensation"
    ROUNDING = "rounding"
    BIAS_CORRECTION = "bias_correction"


_PER_CHANNEL = frozenset((Scheme.INT8, Scheme.EDGETPU))
_8_BIT = _PER_CHANNEL | {Scheme.INT8_PER_TENSOR}
_INTEGER_WEIGHTS = _8_BIT | {Scheme.INT16X8, Scheme.DYNAMIC}

APPLIES: Mapping[Step, frozenset[Scheme]] = {
    Step.NO_OPS: _8_BIT,
    Step.GLOBAL_POOLING: _8_BIT,
    Step.HARD_SWISH: _8_BIT,
    Step.CONSTANT_ARITHMETIC: _8_BIT,
    Step.DEAD_CHANNELS: frozenset((Scheme.INT8_PER_TENSOR,)),
    Step.WEIGHT_EQUALIZATION: frozenset((Scheme.INT8_PER_TENSOR,)),
    Step.BIAS_ABSORPTION: _8_BIT,
    Step.ACTIVATION_EQUALIZATION: _PER_CHANNEL,
    Step.ADDED_CHANNELS: _8_BIT,
    Step.SPARE_CHANNELS: _8_BIT,
    Step.LOGIT_CLIPPING: _8_BIT,
    Step.COMPENSATION: _INTEGER_WEIGHTS,
    Step.ROUNDING: _INTEGER_WEIGHTS,
    Step.BIAS_CORRECTION: _INTEGER_WEIGHTS,
}
"""The schemes that each step is for."""

REWRITES: Mapping[Step, Rewrite] = {
    Step.NO_OPS: remove_no_ops,
    Step.GLOBAL_POOLING: replace_global_pooling,
    Step.HARD_SWISH: expand_hard_swish,
    Step.CONSTANT_ARITHMETIC: fold_constants,
}
"""Steps before the ranges are measured."""

FLOAT_STEPS: Mapping[Step, FloatStep] = {
    Step.DEAD_CHANNELS: remove_dead_channels,
    Step.WEIGHT_EQUALIZATION: equalize_weights,
    Step.BIAS_ABSORPTION: absorb_biases,
    Step.ACTIVATION_EQUALIZATION: equalize_activations,
    # It edits a .tflite: the one step of these that is not for every format.
    Step.ADDED_CHANNELS: cast(FloatStep, add_channels),
    Step.SPARE_CHANNELS: use_spare_channels,
    Step.LOGIT_CLIPPING: clip_logits,
}
"""Steps between the ranges and the engine."""

# The order matters: the bias answers to the weights as rounded.
LAYER_STEPS: Mapping[Step, LayerStep] = {
    Step.COMPENSATION: compensate_layer,
    Step.ROUNDING: round_layer,
    Step.BIAS_CORRECTION: correct_layer,
}
"""Steps behind the engine, layer by layer."""


def time_layer_steps(
    steps: Mapping[Step, LayerStep], seconds: float | None, *, num_weights: int
) -> dict[Step, LayerStep]:
    """Return steps behind the engine with a time for rounding.

    Args:
        steps: From ``choose_layer_steps``.
        seconds: That rounding may take over all layers; ``None`` for one solution each.
        num_weights: Of all layers that will be rounded.
    """
    if seconds is None or Step.ROUNDING not in steps:
        return dict(steps)
    return {**steps, Step.ROUNDING: RoundingTime(seconds=seconds, weights=num_weights).round}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did.

    Attributes:
        step: Which.
        layers: Places or layers that it changed for the better.
        seconds: Time it took.
    """

    step: str
    layers: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"step": self.step, "layers": self.layers, "seconds": round(self.seconds, 3)}


def choose_layer_steps(steps: Sequence[Step]) -> dict[Step, LayerStep]:
    """Return those of ``LAYER_STEPS`` that are among some steps, in their order."""
    return {step: change for step, change in LAYER_STEPS.items() if step in steps}


def apply_steps(
    layer: Layer, steps: Mapping[Step, LayerStep], seconds: MutableMapping[Step, float]
) -> Layer:
    """Apply steps to one layer, in their order.

    Args:
        layer: As the engine made it.
        steps: From ``choose_layer_steps``.
        seconds: Time that each step took; what it takes here is added.
    """
    for step, change in steps.items():
        start = time.perf_counter()
        layer = change(layer)
        seconds[step] += time.perf_counter() - start
    return layer


def names_wanted(names: Sequence[str] | None) -> bool:
    """Whether a caller names the steps that are wanted, instead of leaving some out."""
    return names is not None and not any(name.startswith("-") for name in names)


def choose_steps(scheme: Scheme, names: Sequence[str] | None = None) -> tuple[Step, ...]:
    """Return the steps to apply, in their order.

    Args:
        scheme: What becomes integer.
        names: The steps that are wanted, or with a minus in front the ones that are not; by default
            every one that is for the scheme.

    Raises:
        InvalidConfigError: There is no such step, it is not for the scheme, or it needs another.

    >>> choose_steps(Scheme.INT8, ["bias_correction", "rounding"])
    (<Step.ROUNDING: 'rounding'>, <Step.BIAS_CORRECTION: 'bias_correction'>)
    >>> choose_steps(Scheme.DYNAMIC, ["-compensation", "-rounding"])
    (<Step.BIAS_CORRECTION: 'bias_correction'>,)
    """
    fitting = [step for step in Step if scheme in APPLIES[step]]
    if names is None:
        return tuple(fitting)
    without = [name.startswith("-") for name in names]
    if any(without) and not all(without):
        raise InvalidConfigError(
            "steps are either named or left out",
            received=f"steps={','.join(names)}",
            remedy="give all of them a minus, or none",
        )
    named = {parse_choice(Step, name.removeprefix("-"), "step") for name in names}
    for step in named.difference(fitting):
        raise InvalidConfigError(
            f"{step} does nothing for this scheme",
            received=f"scheme={scheme}",
            remedy=f"leave it out; steps of {scheme}: {', '.join(fitting) or 'none'}",
        )
    if any(without):
        if Step.SPARE_CHANNELS in named:
            named.add(Step.ADDED_CHANNELS)
        return tuple(step for step in fitting if step not in named)
    if Step.ADDED_CHANNELS in named and Step.SPARE_CHANNELS not in named:
        raise InvalidConfigError(
            "added channels stay empty without spare_channels, which fills them",
            received=f"steps={','.join(names)}",
            remedy="name both",
        )
    return tuple(step for step in fitting if step in named)
