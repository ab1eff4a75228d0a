"""Do mean and std fit the network? Told from a float file and some images.

A file does not say on what it was trained, but its first layer does. Batch normalization gave
every channel the scale of the bias that is folded into it, so that what pixels add and what the
bias adds are of the same order. Inputs a hundred times too large make the bias nothing, and inputs
a hundred times too small make it everything. Each sign alone has innocent causes, hence a second
one is needed. Mistakes of a factor of two, as [0, 1] for [-1, 1], can not be told in this way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.contract import Preprocessing
from edgevision.graph.graph import Op
from edgevision.graph.ops import OpKind
from edgevision.metrics.classification import softmax
from edgevision.quantization.layers import find_layers, get_activations, get_bias, get_weights
from edgevision.quantization.moments import Activation, gather_patches, group_weights
from edgevision.quantization.network import FloatNetwork

Array = np.ndarray[Any, Any]

_IMAGES = 16
# Median over channels of bias ÷ spread of what pixels add, at the contrast of a common photo.
# Networks given what they were trained on: 0.25 to 20. A hundred times too large: below 0.16; too
# small: above 29.
_SMALLEST_RATIO, _LARGEST_RATIO = 0.2, 25.0
_COMMON_CONTRAST = 64.0
# Share of the first layer's positive outputs beyond 6: at most 0.08 where inputs are right, at
# least 0.37 where they are too large.
_MOST_BEYOND = 0.3
_CEILING = 6.0
# How far outputs vary between images, relative to their size: 0.6 and more, or below 0.5.
_LEAST_VARIATION = 0.55
# A classifier that is sure of everything, and would still be of much smaller inputs.
_SURE, _STILL_SURE = 0.95, 0.4
_CENTRE = 127.5
_TINY = float(np.finfo(np.float32).tiny)


def find_wrong_scale(
    network: FloatNetwork, images: Array, preprocessing: Preprocessing
) -> str | None:
    """Say in a sentence that inputs look much too large or too small for the network.

    Args:
        network: The float network.
        images: (N, *input shape) float32, normalized.
        preprocessing: How they were normalized.

    Returns:
        A warning, or ``None`` where nothing is suspicious or nothing can be told.
    """
    images = images[:: -(-len(images) // _IMAGES)]
    std = float(np.mean(preprocessing.std))
    pixels = (images * np.float32(std) + np.float32(np.mean(preprocessing.mean))).astype(np.float32)
    found = _measure_first_layer(network, images)
    if found is None:
        return None
    ratio, beyond, has_ceiling = found
    ratio *= float(pixels.std()) / _COMMON_CONTRAST
    if ratio < _SMALLEST_RATIO and beyond > _MOST_BEYOND:
        smaller = (pixels - _CENTRE) / _CENTRE
        wrong = has_ceiling or _is_sure_of_less(network, images, smaller)
        return _describe("large", preprocessing) if wrong else None
    if ratio > _LARGEST_RATIO and _varies_more_with(network, images, pixels):
        return _describe("small", preprocessing)
    return None


def _describe(how: str, preprocessing: Preprocessing) -> str:
    mean, std = (",".join(f"{v:g}" for v in row) for row in (preprocessing.mean, preprocessing.std))
    return (
        f"inputs look much too {how} for the network's first layer: check --mean {mean} --std "
        f"{std}; usual are 127.5 and 127.5, 0 and 255, or 0 and 1"
    )


def _measure_first_layer(network: FloatNetwork, images: Array) -> tuple[float, float, bool] | None:
    """Return bias ÷ spread, the share of outputs beyond 6, and whether 6 is where they end."""
    op = find_layers(network.graph)[0]
    weights, bias = get_weights(network.graph, op), get_bias(network.graph, op)
    if op.kind is not OpKind.CONV_2D or bias is None:
        return None
    if weights.data is None or bias.data is None or weights.dtype != "float32":
        return None
    added = _multiply(network, op, images, weights.data)
    spread = added.std(axis=0)
    used = spread > 1e-6 * max(float(spread.max()), _TINY)
    biases = np.abs(bias.data[used])
    if not used.any() or not biases.any():
        return None
    outputs = added[:, used] + bias.data[used]
    beyond = (outputs >= _CEILING).sum() / max((outputs > 0).sum(), 1)
    has_ceiling = op.attributes.get("activation") == "relu6"
    return float(np.median(biases / spread[used])), float(beyond), has_ceiling


def _multiply(network: FloatNetwork, op: Op, images: Array, weights: Array) -> Array:
    """Return (rows, channels) what the first layer makes of sampled patches, without the bias."""
    source, output = get_activations(network.graph, op)
    (values,) = network.run(images, [source.index])  # a layer before it may normalize
    shape = (len(images), *output.shape[1:])
    patches = gather_patches(
        op, weights.shape, Activation(values=values[:, 0]), output_shape=shape, seed=0
    )
    products = np.matmul(patches, group_weights(op, weights).transpose(0, 2, 1))
    return np.concatenate(list(products), axis=1)


def _is_sure_of_less(network: FloatNetwork, images: Array, smaller: Array) -> bool:
    """Whether a classifier is sure of everything, and still is when inputs lie in [-1, 1].

    A network without batch normalization may have small biases, and then needs large inputs: of
    small ones it knows nothing.
    """
    before, after = (_measure_confidence(network, values) for values in (images, smaller))
    return before > _SURE and after > _STILL_SURE


def _measure_confidence(network: FloatNetwork, images: Array) -> float:
    """Return the mean best probability, 0 where all classes are alike; 0 for other networks."""
    answers = network.run(images, network.graph.outputs[:1])[0].astype(np.float64)
    scores = answers.reshape(len(images), -1)
    if len(network.graph.outputs) != 1 or answers.ndim > 3 or scores.shape[1] < 2:
        return 0.0
    sums_to_one = np.abs(scores.sum(axis=1) - 1).max() < 1e-3
    best = float((scores if sums_to_one else softmax(scores)).max(axis=1).mean())
    return (best - 1 / scores.shape[1]) / (1 - 1 / scores.shape[1])


def _varies_more_with(network: FloatNetwork, images: Array, larger: Array) -> bool:
    """Whether answers hardly vary between images, and do when inputs are raw pixels."""
    before, after = (_measure_variation(network, values) for values in (images, larger))
    return before < _LEAST_VARIATION < after


def _measure_variation(network: FloatNetwork, images: Array) -> float:
    """Return the median over output values of range ÷ largest, 0 to 2."""
    answers = network.run(images, _find_logits(network))
    ratios = []
    for values in answers:
        flat = values.reshape(len(images), -1)
        size = np.maximum(np.abs(flat).max(axis=0), _TINY)
        ratios.append(np.ptp(flat, axis=0) / size)
    return float(np.median(np.concatenate(ratios)))


def _find_logits(network: FloatNetwork) -> tuple[int, ...]:
    """Return the outputs, or what goes into the softmax at the end."""
    last = network.graph.ops[-1]
    return last.inputs[:1] if last.kind is OpKind.SOFTMAX else network.graph.outputs
