"""Layer steps on moments that were told and not measured: rounding and biases without images.

Nagel et al. 2019, Data-Free Quantization (https://arxiv.org/abs/1906.04721), section 4.2: what
rounding the weights adds to the mean of a channel is the error of the weights times the mean of
what enters, and batch normalization tells that mean. It tells the variance too. How neighbours in
an image go together is much the same in all images and maps: with that, weights of a depthwise
layer are rounded so that their errors cancel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph, Op
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.data_free.spread import Spread
from edgevision.quantization.layers import (
    build_layer,
    find_layers,
    get_activations,
    get_weights,
    is_repairable,
)
from edgevision.quantization.moments import Activation, Moments, gather_patches
from edgevision.quantization.steps import Step, StepReport, apply_steps, choose_layer_steps
from edgevision.quantization.storage import Stored, store_layer

Array = np.ndarray[Any, Any]

# As certain as any number of rows makes it.
_ROWS = 10**9
# Correlation of a channel with its neighbour; two steps away it is the square of it. With 0 a
# MobileNetV1 0.25 keeps 32 % of its answers in one scale per tensor, with 0.5 68 %, with 0.8 76 %.
_CORRELATION = 0.8
# Rounding pays where neighbours are most of a patch, as in depthwise layers; in patches of many
# channels, taken as independent, it gains nothing and takes its time.
_MAX_ROUNDED = 64


def correct_network(
    models: tuple[bytes, bytes], spreads: Mapping[int, Spread], steps: Sequence[Step]
) -> tuple[bytes, list[StepReport]]:
    """Apply layer steps to a quantized network.

    Args:
        models: The float ``.tflite``, and what the engine made of it.
        spreads: Of the float network's activations, by tensor index.
        steps: Those of ``LAYER_STEPS`` to apply.

    Returns:
        The corrected network, and what each step did.
    """
    graphs = (read_tflite(models[0]), read_tflite(models[1]))
    layers = [find_layers(graph) for graph in graphs]
    alike = [op.kind for op in layers[0]] == [op.kind for op in layers[1]]
    pairs = list(zip(*layers, strict=True)) if alike else []
    chosen = choose_layer_steps(steps)
    seconds = dict.fromkeys(chosen, 0.0)
    changed = Counter[Step]()
    stored = Stored()
    for ops in pairs:
        if not is_repairable(graphs[1], ops[1]):
            continue
        source = get_activations(graphs[0], ops[0])[0].index
        layer = build_layer(graphs, ops, tell_moments(graphs[0], ops[0], spreads[source]))
        fitting = dict(chosen)
        if layer.weights.shape[2] > _MAX_ROUNDED:
            fitting.pop(Step.ROUNDING, None)
        changed.update(fitting.keys())
        layer = apply_steps(layer, fitting, seconds)
        stored = stored.joined_with(store_layer(graphs[1], layer))
    reports = [StepReport(step=s, layers=changed[s], seconds=t) for s, t in seconds.items()]
    return stored.write(models[1]), reports


def tell_moments(graph: Graph, op: Op, spread: Spread) -> Moments:
    """Return the moments of a layer's patches, zeros of its padding included.

    Args:
        graph: The float network.
        op: One of its layers.
        spread: Of what it reads.
    """
    means, variances = (_gather(graph, op, v) for v in (spread.mean, spread.std**2))
    correlation = correlate_places(get_weights(graph, op).shape, means.shape[1])
    std = np.sqrt(variances)
    covariance = std[:, :, None] * std[:, None, :] * correlation
    return Moments(
        mean_float=means,
        mean_quantized=means,
        covariance=covariance,
        cross=np.zeros_like(covariance),
        num_rows=_ROWS,
    )


def correlate_places(shape: tuple[int, ...], size: int) -> Array:
    """Return how the values of a patch go together: those of one channel do, by their distance.

    Args:
        shape: Of the weights; those of a fully connected layer have no places.
        size: Of the patch, K.

    Returns:
        (K, K) float64, positive definite.

    >>> correlate_places((1, 1, 2, 5), 2).tolist()
    [[1.0, 0.8], [0.8, 1.0]]
    """
    if len(shape) < 4:
        return np.eye(size)
    channels = size // (shape[1] * shape[2])
    rows, columns = np.divmod(np.arange(shape[1] * shape[2]), shape[2])
    distance = sum(np.abs(np.subtract.outer(axis, axis)) for axis in (rows, columns))
    return np.kron(_CORRELATION**distance, np.eye(channels))


def _gather(graph: Graph, op: Op, channels: Array) -> Array:
    """Return (G, K), the mean patch of an image whose places are all alike."""
    before, after = get_activations(graph, op)
    values = np.broadcast_to(channels.astype(np.float32), (1, *before.shape[1:]))
    patches = gather_patches(
        op,
        get_weights(graph, op).shape,
        Activation(values=values),
        output_shape=(1, *after.shape[1:]),
        seed=op.index,
    )
    mean: Array = patches.mean(axis=1, dtype=np.float64)
    return mean
