"""What each quantization scheme makes integer, as rows of a table, and the engine's recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.specs import Lift, Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeRow:
    """One scheme.

    Attributes:
        scheme: Its name.
        weight_bits: Bits of the weights; 16 means float16.
        activation_bits: Bits of the activations; 0 leaves them float32.
        per_channel: Whether every output channel has its own weight scale.
        float_ops: Operations that stay float.
        per_tensor_ops: Operations whose weights have one scale all the same.
    """

    scheme: Scheme
    weight_bits: int
    activation_bits: int
    per_channel: bool
    float_ops: tuple[str, ...] = ()
    per_tensor_ops: tuple[str, ...] = ()

    @property
    def needs_ranges(self) -> bool:
        """Whether activation ranges, and so images, are needed."""
        return self.activation_bits > 0

    @property
    def has_integer_weights(self) -> bool:
        """Whether the weights become integers."""
        return self.weight_bits < 16


SCHEMES = {
    row.scheme: row
    for row in (
        SchemeRow(scheme=Scheme.INT8, weight_bits=8, activation_bits=8, per_channel=True),
        SchemeRow(
            scheme=Scheme.INT8_PER_TENSOR, weight_bits=8, activation_bits=8, per_channel=False
        ),
        SchemeRow(scheme=Scheme.INT16X8, weight_bits=8, activation_bits=16, per_channel=True),
        SchemeRow(
            scheme=Scheme.DYNAMIC,
            weight_bits=8,
            activation_bits=0,
            per_channel=True,
            # XNNPACK takes no such depthwise layers: with them MobileNetV1 0.25 falls into 14
            # partitions and takes 3 times as long, for 3 % of its size.
            float_ops=("DEPTHWISE_CONV_2D",),
        ),
        SchemeRow(scheme=Scheme.FLOAT16, weight_bits=16, activation_bits=0, per_channel=False),
        SchemeRow(
            scheme=Scheme.EDGETPU,
            weight_bits=8,
            activation_bits=8,
            per_channel=True,
            # Scales per channel of dense layers are younger than the last Edge TPU compiler.
            per_tensor_ops=("FULLY_CONNECTED",),
        ),
    )
}


def create_recipe(
    scheme: Scheme, lifted: Sequence[str] = (), lift: Lift = Lift.FLOAT
) -> list[dict[str, Any]]:
    """Return the recipe of ai-edge-quantizer for a scheme.

    Args:
        scheme: What becomes integer.
        lifted: Operations that are lifted, by the names of their output tensors, joined by ";".
        lift: What they are lifted to: they stay in float, or keep integer weights and have 16-bit
            activations.

    >>> create_recipe(Scheme.INT8)[0]["op_config"]["weight_tensor_config"]["granularity"]
    'CHANNELWISE'
    >>> create_recipe(Scheme.FLOAT16)[0]["algorithm_key"]
    'float_casting'
    """
    row = SCHEMES[scheme]
    config = _describe_operation(row)
    algorithm = "min_max_uniform_quantize" if row.has_integer_weights else "float_casting"
    rules: list[dict[str, Any]] = [
        {"regex": ".*", "operation": "*", "algorithm_key": algorithm, "op_config": config}
    ]
    rules.extend(
        {"regex": ".*", "operation": name, "algorithm_key": "no_quantize", "op_config": None}
        for name in row.float_ops
    )
    shared = config | {"weight_tensor_config": _describe_weights(row, per_channel=False)}
    rules.extend(
        {"regex": ".*", "operation": name, "algorithm_key": algorithm, "op_config": shared}
        for name in row.per_tensor_ops
    )
    wider = config | {"activation_tensor_config": describe_activations(16)}
    kept = {"algorithm_key": "no_quantize", "op_config": None}
    chosen = kept if lift is Lift.FLOAT else {"algorithm_key": algorithm, "op_config": wider}
    # The engine calls an operation by its outputs, each with a ";" behind it.
    rules.extend({"regex": f"^{re.escape(name)};?$", "operation": "*", **chosen} for name in lifted)
    return rules


def describe_activations(bits: int) -> dict[str, Any]:
    """Return the engine's description of integer activations."""
    # int16 kernels know no zero point.
    return {"num_bits": bits, "symmetric": bits == 16, "granularity": "TENSORWISE", "dtype": "INT"}


def _describe_operation(row: SchemeRow) -> dict[str, Any]:
    config: dict[str, Any] = {
        "weight_tensor_config": _describe_weights(row, per_channel=row.per_channel),
        "compute_precision": "INTEGER" if row.has_integer_weights else "FLOAT",
        "explicit_dequantize": not row.has_integer_weights,
        "skip_checks": False,
        "min_weight_elements": 0,
    }
    if row.needs_ranges:
        config["activation_tensor_config"] = describe_activations(row.activation_bits)
    return config


def _describe_weights(row: SchemeRow, *, per_channel: bool) -> dict[str, Any]:
    return {
        "num_bits": row.weight_bits,
        "symmetric": True,
        "granularity": "CHANNELWISE" if per_channel else "TENSORWISE",
        "dtype": "INT" if row.has_integer_weights else "FLOAT",
    }
