"""The steps between a float network and an integer one, as a table.

Each is a pure function in a file of its own; they compose, and each can be switched off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from edgevision.errors import InvalidConfigError
from edgevision.quantization.activation_equalization import equalize_activations
from edgevision.quantization.bias import correct_layer
from edgevision.quantization.compensation import compensate_layer
from edgevision.quantization.dead_channels import remove_dead_channels
from edgevision.quantization.layers import Layer, LayerStep
from edgevision.quantization.logit_clipping import clip_logits
from edgevision.quantization.network import N, Network
from edgevision.quantization.rewrites.constant_arithmetic import fold_constants
from edgevision.quantization.rewrites.hard_swish import expand_hard_swish
from edgevision.quantization.rewrites.no_ops import remove_no_ops
from edgevision.quantization.rounding import round_layer
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
    HARD_SWISH = "hard_swish"
    CONSTANT_ARITHMETIC = "constant_arithmetic"
    DEAD_CHANNELS = "dead_channels"
    WEIGHT_EQUALIZATION = "weight_equalization"
    ACTIVATION_EQUALIZATION = "activation_equalization"
    LOGIT_CLIPPING = "logit_clipping"
    COMPENSATION = "compensation"
    ROUNDING = "rounding"
    BIAS_CORRECTION = "bias_correction"


_PER_CHANNEL = frozenset((Scheme.INT8, Scheme.EDGETPU))
_8_BIT = _PER_CHANNEL | {Scheme.INT8_PER_TENSOR}
_INTEGER_WEIGHTS = _8_BIT | {Scheme.INT16X8, Scheme.DYNAMIC}

APPLIES: Mapping[Step, frozenset[Scheme]] = {
    Step.NO_OPS: _8_BIT,
    Step.HARD_SWISH: _8_BIT,
    Step.CONSTANT_ARITHMETIC: _8_BIT,
    Step.DEAD_CHANNELS: frozenset((Scheme.INT8_PER_TENSOR,)),
    Step.WEIGHT_EQUALIZATION: frozenset((Scheme.INT8_PER_TENSOR,)),
    Step.ACTIVATION_EQUALIZATION: _PER_CHANNEL,
    Step.LOGIT_CLIPPING: _8_BIT,
    Step.COMPENSATION: _INTEGER_WEIGHTS,
    Step.ROUNDING: _INTEGER_WEIGHTS,
    Step.BIAS_CORRECTION: _INTEGER_WEIGHTS,
}
"""The schemes that each step is for."""

REWRITES: Mapping[Step, Rewrite] = {
    Step.NO_OPS: remove_no_ops,
    Step.HARD_SWISH: expand_hard_swish,
    Step.CONSTANT_ARITHMETIC: fold_constants,
}
"""Steps before the ranges are measured."""

FLOAT_STEPS: Mapping[Step, FloatStep] = {
    Step.DEAD_CHANNELS: remove_dead_channels,
    Step.WEIGHT_EQUALIZATION: equalize_weights,
    Step.ACTIVATION_EQUALIZATION: equalize_activations,
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


def choose_steps(scheme: Scheme, names: Sequence[str] | None = None) -> tuple[Step, ...]:
    """Return the steps to apply, in their order.

    Args:
        scheme: What becomes integer.
        names: The steps that are wanted; by default every one that is for the scheme.

    Raises:
        InvalidConfigError: There is no such step, or it is not for the scheme.

    >>> choose_steps(Scheme.INT8, ["bias_correction", "rounding"])
    (<Step.ROUNDING: 'rounding'>, <Step.BIAS_CORRECTION: 'bias_correction'>)
    """
    fitting = [step for step in Step if scheme in APPLIES[step]]
    if names is None:
        return tuple(fitting)
    wanted = {parse_choice(Step, name, "step") for name in names}
    for step in wanted.difference(fitting):
        raise InvalidConfigError(
            f"{step} does nothing for this scheme",
            received=f"scheme={scheme}",
            remedy=f"leave it out; steps of {scheme}: {', '.join(fitting) or 'none'}",
        )
    return tuple(step for step in fitting if step in wanted)
