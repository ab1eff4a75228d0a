"""All steps in order, in memory, without an image: ranges and biases from batch normalization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import InvalidConfigError
from edgevision.quantization.calibrate import ChannelRange, Ranges, find_input_range
from edgevision.quantization.data_free.batch_norm import match_spreads
from edgevision.quantization.data_free.carry import carry_spreads, move_spread
from edgevision.quantization.data_free.correct import correct_network
from edgevision.quantization.data_free.propagate import propagate_spreads
from edgevision.quantization.data_free.spread import Spread
from edgevision.quantization.engine import load_engine
from edgevision.quantization.gates import raise_floors
from edgevision.quantization.network import Network
from edgevision.quantization.pipeline import (
    Options,
    Quantized,
    make_integer,
    prepare_network,
    rewrite_network,
)
from edgevision.quantization.source import FloatModel
from edgevision.quantization.steps import (
    LAYER_STEPS,
    REWRITES,
    Step,
    choose_steps,
    names_wanted,
)
from edgevision.specs import Scheme

Array = np.ndarray[Any, Any]

SCHEMES = (Scheme.INT8, Scheme.INT8_PER_TENSOR)
"""Those that work without images."""

STEPS = (
    *REWRITES,
    Step.DEAD_CHANNELS,
    Step.WEIGHT_EQUALIZATION,
    Step.BIAS_ABSORPTION,
    Step.ACTIVATION_EQUALIZATION,
    Step.ROUNDING,
    Step.BIAS_CORRECTION,
)
"""Steps that need ranges and moments, and nothing else of images."""

# Brightness and contrast of common photos, as shares of the pixels' range (ImageNet's are 0.45 and
# 0.27): what the first layer sees.
_BRIGHTNESS, _CONTRAST = 0.45, 0.27

_NARROW = 1e-4


def choose_steps_without_images(scheme: Scheme, names: Sequence[str] | None) -> tuple[Step, ...]:
    """Return the steps to apply, in their order.

    Args:
        scheme: What becomes integer.
        names: The steps that are wanted; by default every one that works without images.

    Raises:
        InvalidConfigError: The scheme or a step needs images, or there is no such step.

    >>> choose_steps_without_images(Scheme.INT8, None)[-1]
    <Step.BIAS_CORRECTION: 'bias_correction'>
    """
    if scheme not in SCHEMES:
        raise InvalidConfigError(
            f"batch normalization serves {' and '.join(SCHEMES)}",
            received=f"scheme={scheme}",
            remedy="choose one of them, or leave the Keras file out",
        )
    chosen = choose_steps(scheme, names)
    needy = [step for step in chosen if step not in STEPS]
    if names_wanted(names) and needy:
        raise InvalidConfigError(
            "this step needs images",
            received=f"step={needy[0]}",
            remedy="leave it out, or give photos with --calibration",
        )
    return tuple(step for step in chosen if step not in needy)


def quantize_without_images(source: FloatModel, batch_norm: Path, options: Options) -> Quantized:
    """Quantize in memory, from what batch normalization tells.

    Args:
        source: The float model.
        batch_norm: The Keras file that it was converted from.
        options: How; the steps are those of ``choose_steps_without_images``.

    Raises:
        InvalidModelError: The Keras file is not that of the float model.
        UnsupportedOpError: The network does what can not be told without images.
    """
    load_engine()
    network, rewrites = rewrite_network(source, options)
    graph = network.graph
    shape = graph.tensors[graph.inputs[0]].shape
    spreads = tell_spreads(source, batch_norm)
    if rewrites:
        carried = carry_spreads(spreads, Network(model=source.data, graph=source.graph), network)
        spreads = propagate_spreads(graph, spreads[source.graph.inputs[0]], told=carried)
    told = {t: spread.to_range() for t, spread in spreads.items()}
    network = network.with_ranges(raise_floors(graph, told))
    no_images = np.zeros((0, *shape), np.float32)
    prepared, prepared_reports = prepare_network(network, no_images, options.steps)
    model, reports = correct_network(
        (prepared.model, make_integer(source, prepared, options.row)),
        follow_ranges(spreads, network.ranges, prepared.ranges),
        [step for step in LAYER_STEPS if step in options.steps],
    )
    repairs = (*rewrites, *prepared_reports, *reports)
    return Quantized(model=model, reference=prepared.model, repairs=repairs)


def tell_spreads(source: FloatModel, batch_norm: Path) -> dict[int, Spread]:
    """Tell the spread of every activation of a float model, by tensor index."""
    graph = source.graph
    pixels = tell_pixels(source, graph.tensors[graph.inputs[0]].shape[-1])
    return propagate_spreads(graph, pixels, known=match_spreads(graph, batch_norm))


def tell_pixels(source: FloatModel, channels: int) -> Spread:
    """Return how normalized pixels of common photos are spread."""
    low, high = find_input_range(source.contract.preprocessing)
    ones = np.ones(channels)
    return Spread(
        mean=(low + _BRIGHTNESS * (high - low)) * ones,
        std=_CONTRAST * (high - low) * ones,
        low=low * ones,
        high=high * ones,
    )


def follow_ranges(
    spreads: Mapping[int, Spread], before: Ranges, after: Ranges
) -> dict[int, Spread]:
    """Scale and shift spreads as float steps have scaled and shifted the ranges of channels.

    Args:
        spreads: Of every activation, by tensor index.
        before: Their ranges.
        after: The ranges of the network as the steps left it.
    """
    return {
        index: move_spread(spread, *_fit_ends(before[index], after[index]))
        for index, spread in spreads.items()
    }


def _fit_ends(before: ChannelRange, after: ChannelRange) -> tuple[Array, Array]:
    """Return the (C,) factors and shifts that take the ends of a range to those of another."""
    low, high, new_low, new_high = (
        side.astype(np.float64) for side in (before.low, before.high, after.low, after.high)
    )
    width, reach = high - low, np.maximum(np.abs(low), np.abs(high))
    # Single precision tells nothing of a range that is all but one value; it has no deviation.
    wide = width > _NARROW * reach
    factor = np.divide(new_high - new_low, width, out=np.ones_like(width), where=wide)
    return factor, (new_low + new_high - factor * (low + high)) / 2
