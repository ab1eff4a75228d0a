"""Why a layer lost accuracy: rules over what was measured, each with its evidence in words.

A rule is a pure function from the evidence of one layer to a sentence, or to nothing: no cause is
claimed without figures. ``RULES`` lists them, with what helps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgevision.quantization.diagnosis.evidence import LayerEvidence
from edgevision.quantization.diagnosis.rules_activations import (
    find_clipping,
    find_constant_channel,
    find_outlier_channel,
    find_too_few_bits,
    find_wide_range,
)
from edgevision.quantization.diagnosis.rules_operations import (
    find_coarse_logits,
    find_hard_swish,
    find_narrow_gate,
    find_pooled_range,
    find_shared_scale,
    find_unequal_terms,
)
from edgevision.quantization.diagnosis.rules_weights import (
    find_dead_weights,
    find_full_bias,
    find_mean_shift,
    find_rounded_weights,
    find_spread_weights,
)
from edgevision.quantization.steps import Step


class Cause(StrEnum):
    """What is wrong in a layer."""

    CONSTANT_CHANNEL = "constant_channel"
    OUTLIER_CHANNEL = "outlier_channel"
    CLIPPED_RANGE = "clipped_range"
    WIDE_RANGE = "wide_range"
    SHARED_SCALE = "shared_scale"
    UNEQUAL_TERMS = "unequal_terms"
    COARSE_LOGITS = "coarse_logits"
    NARROW_GATE = "narrow_gate"
    POOLED_RANGE = "pooled_range"
    DEAD_WEIGHTS = "dead_weights"
    SPREAD_WEIGHTS = "spread_weights"
    FULL_BIAS = "full_bias"
    MEAN_SHIFT = "mean_shift"
    HARD_SWISH = "hard_swish"
    ROUNDED_WEIGHTS = "rounded_weights"
    TOO_FEW_BITS = "too_few_bits"
    WRONG_INPUT_RANGE = "wrong_input_range"
    ACCUMULATED_NOISE = "accumulated_noise"


Rule = Callable[[LayerEvidence], str | None]
"""From what was measured of a layer to a sentence that proves the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRow:
    """One cause that can be told from a single layer.

    Attributes:
        cause: Its name.
        title: The same in words.
        find: Tells whether a layer has it.
        remedy: The step or option that answers it.
        general: Whether it is claimed only of layers in which no other cause was found.
    """

    cause: Cause
    title: str
    find: Rule
    remedy: str
    general: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause in one layer.

    Attributes:
        layer: Name of the layer; empty for the network as a whole.
        index: Of the layer's operation in the quantized network, -1 for the network.
        cause: What is wrong.
        title: The same in words.
        evidence: What was measured.
        remedy: The step or option that answers it.
    """

    layer: str
    index: int
    cause: Cause
    title: str
    evidence: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "layer": self.layer,
            "index": self.index,
            "cause": str(self.cause),
            "title": self.title,
            "evidence": self.evidence,
            "remedy": self.remedy,
        }


RULES: tuple[RuleRow, ...] = (
    RuleRow(
        cause=Cause.CONSTANT_CHANNEL,
        title="a channel that never changes sets the range",
        find=find_constant_channel,
        remedy=f"{Step.ACTIVATION_EQUALIZATION}, --ranges mse, or --scheme int16x8",
    ),
    RuleRow(
        cause=Cause.OUTLIER_CHANNEL,
        title="an outlier channel",
        find=find_outlier_channel,
        remedy=f"{Step.ACTIVATION_EQUALIZATION}, --ranges mse, or --scheme int16x8",
    ),
    RuleRow(
        cause=Cause.CLIPPED_RANGE,
        title="a clipped range",
        find=find_clipping,
        remedy="calibrate with more images like these, or --ranges minmax",
    ),
    RuleRow(
        cause=Cause.WIDE_RANGE,
        title="a range much wider than the values",
        find=find_wide_range,
        remedy="calibrate with images like these, or --ranges mse",
    ),
    RuleRow(
        cause=Cause.SHARED_SCALE,
        title="one scale for parts of very different size",
        find=find_shared_scale,
        remedy="keep the parts apart in the network, or --scheme int16x8",
    ),
    RuleRow(
        cause=Cause.UNEQUAL_TERMS,
        title="a sum of very different terms",
        find=find_unequal_terms,
        remedy="--ranges mse, or --scheme int16x8",
    ),
    RuleRow(
        cause=Cause.COARSE_LOGITS,
        title="logits too coarse for the softmax",
        find=find_coarse_logits,
        remedy=f"{Step.LOGIT_CLIPPING}, --scheme int16x8, or leave the softmax to the caller",
    ),
    RuleRow(
        cause=Cause.NARROW_GATE,
        title="a squeeze-and-excite gate that uses few codes",
        find=find_narrow_gate,
        remedy="--scheme int16x8",
    ),
    RuleRow(
        cause=Cause.POOLED_RANGE,
        title="means in the range of what is pooled",
        find=find_pooled_range,
        remedy="--ranges mse, or --scheme int16x8",
    ),
    RuleRow(
        cause=Cause.DEAD_WEIGHTS,
        title="weights of a dead channel set the scale",
        find=find_dead_weights,
        remedy=f"{Step.DEAD_CHANNELS}, or --scheme int8, which has a scale per channel",
    ),
    RuleRow(
        cause=Cause.SPREAD_WEIGHTS,
        title="one scale for channels with very different weights",
        find=find_spread_weights,
        remedy=f"{Step.WEIGHT_EQUALIZATION}, or --scheme int8, which has a scale per channel",
    ),
    RuleRow(
        cause=Cause.FULL_BIAS,
        title="a bias beyond its integers",
        find=find_full_bias,
        remedy="--scheme dynamic for this network, or train it with smaller biases",
    ),
    RuleRow(
        cause=Cause.MEAN_SHIFT,
        title="shifted means",
        find=find_mean_shift,
        remedy=str(Step.BIAS_CORRECTION),
    ),
    RuleRow(
        cause=Cause.HARD_SWISH,
        title="a hard swish in integers",
        find=find_hard_swish,
        remedy="--scheme int16x8, or a network without it (the minimalistic MobileNetV3)",
    ),
    RuleRow(
        cause=Cause.ROUNDED_WEIGHTS,
        title="rounded weights",
        find=find_rounded_weights,
        remedy=f"{Step.ROUNDING} and {Step.BIAS_CORRECTION}",
        general=True,
    ),
    RuleRow(
        cause=Cause.TOO_FEW_BITS,
        title="values that need more than 8 bits",
        find=find_too_few_bits,
        remedy="--ranges mse, or --scheme int16x8",
        general=True,
    ),
)
"""The causes that one layer can have, in the order in which they are looked for."""


def explain_layer(layer: LayerEvidence) -> list[Finding]:
    """Return every cause for which a layer gives evidence."""
    found = list[Finding]()
    for row in RULES:
        if row.general and found:
            continue
        evidence = row.find(layer)
        if evidence:
            found.append(
                Finding(
                    layer=layer.name,
                    index=layer.index,
                    cause=row.cause,
                    title=row.title,
                    evidence=evidence,
                    remedy=row.remedy,
                )
            )
    return found
