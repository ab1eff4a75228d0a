"""What batch normalization knows of a network's activations, read from its Keras file.

Behind a batch normalization a channel has the mean β and the deviation γ (Nagel et al. 2019, Data-
Free Quantization, https://arxiv.org/abs/1906.04721, section 4.2.1). Converters fold the
normalization into the layer before it, and the float ``.tflite`` no longer tells them; the Keras
file does. Its layers are found by content: the weights of the ``.tflite`` have to be those of the
Keras layer times γ / σ, and its bias has to be β + (bias − μ) · γ / σ, which no other pair gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import InvalidModelError
from edgevision.graph.graph import Graph, Op
from edgevision.graph.keras_files import list_layer_configs, read_keras_config
from edgevision.graph.ops import OpKind
from edgevision.models.stored import StoredLayer, read_stored_layers
from edgevision.quantization.calibrate import name_tensor
from edgevision.quantization.data_free.spread import REMEDY, Spread, spread_normal
from edgevision.quantization.layers import find_layers, get_bias, get_weights

Array = np.ndarray[Any, Any]

# Converters fold in float32; another layer is off by a whole.
_SAME = 1e-3
_TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchNorm:
    """One normalization.

    Attributes:
        mean: (C,) float64, β: the mean behind it.
        std: (C,) float64, the deviation behind it: γ, less where ε outweighs the variance, as it
            does in channels that never change.
        factor: (C,) float64, γ / σ.
        centre: (C,) float64, μ, the mean before it.
    """

    mean: Array
    std: Array
    factor: Array
    centre: Array


def match_spreads(graph: Graph, path: Path) -> dict[int, Spread]:
    """Find the layers of a float network in its Keras file.

    Args:
        graph: The float network.
        path: A ``.keras`` or ``.h5`` file with its weights.

    Returns:
        What each layer with a normalization writes, before its activation, by tensor index.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is no Keras model, or not that of the network.
        BackendUnavailableError: h5py is not installed.
    """
    layers = read_model_layers(path)
    norms = list(_read_norms(layers, path))
    if not norms:
        raise InvalidModelError(
            "the Keras model has no batch normalization", received=path, remedy=REMEDY
        )
    spreads = dict[int, Spread]()
    for op in find_layers(graph):
        found = _match(graph, op, layers, norms)
        if found is None:
            name = name_tensor(graph, op.outputs[0])
            raise InvalidModelError(
                "the Keras model is not that of the .tflite",
                received=f"{path}: no layer with the weights of {name}",
                remedy="give the file that was converted",
            )
        if found:
            spreads[op.outputs[0]] = spread_normal(found[0].mean, found[0].std)
    if not spreads:
        raise InvalidModelError(
            "no batch normalization is part of the .tflite's layers",
            received=path,
            remedy=REMEDY,
        )
    return spreads


def read_model_layers(path: Path) -> list[StoredLayer]:
    """Read the layers of a Keras model; a file of weights alone does not tell enough.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is no whole Keras model.
    """
    read_keras_config(path)
    return read_stored_layers(path)


def _read_norms(layers: Sequence[StoredLayer], path: Path) -> Iterator[BatchNorm]:
    """Read every group of vectors as each kind of normalization that the model has.

    The layers' names do not tell kinds in every layout. A wrong reading matches no layer.
    """
    configs = list_layer_configs(read_keras_config(path), "BatchNormalization")
    kinds = {(bool(c.get("scale", True)), bool(c.get("center", True))) for c in configs}
    epsilons = {float(c.get("epsilon", 1e-3)) for c in configs}
    for layer, (scales, shifts), epsilon in product(layers, sorted(kinds), sorted(epsilons)):
        arrays = [a.astype(np.float64) for a in layer.arrays]
        same = len({a.shape for a in arrays}) == 1
        if len(arrays) != 2 + scales + shifts or not same or arrays[0].ndim != 1:
            continue
        mean, variance = arrays[-2:]
        gamma = arrays[0] if scales else np.ones_like(mean)
        beta = arrays[int(scales)] if shifts else np.zeros_like(mean)
        if variance.min(initial=0.0) < 0:
            continue
        factor = gamma / np.sqrt(variance + epsilon)
        std = np.abs(factor) * np.sqrt(variance)
        yield BatchNorm(mean=beta, std=std, factor=factor, centre=mean)


def _match(
    graph: Graph, op: Op, layers: Sequence[StoredLayer], norms: Sequence[BatchNorm]
) -> list[BatchNorm] | None:
    """Return the normalization of a layer, nothing where it has none, ``None`` for no match."""
    weights, stored = get_weights(graph, op), get_bias(graph, op)
    if weights.data is None:
        return None
    rows = _order_rows(op.kind, weights.data)
    count = len(rows)
    bias = np.zeros(count) if stored is None or stored.data is None else stored.data
    plain = None
    for kernel, own in _list_kernels(op.kind, rows.shape, layers):
        factor = _find_factor(rows, kernel)
        if factor is None:
            continue
        for norm in norms:
            if len(norm.mean) == count and _is_folded(norm, factor, bias=bias, own=own):
                return [norm]
        if _is_close(factor, np.ones(count)):  # the bias may hold a constant added behind it
            plain = list[BatchNorm]()
    return plain


def _order_rows(kind: OpKind, weights: Array) -> Array:
    """Bring weights of a ``.tflite`` into one row for each output channel."""
    if kind is OpKind.DEPTHWISE_CONV_2D:
        return weights.reshape(-1, weights.shape[-1]).T.astype(np.float64)
    return weights.reshape(len(weights), -1).astype(np.float64)


def _list_kernels(
    kind: OpKind, shape: tuple[int, ...], layers: Sequence[StoredLayer]
) -> Iterator[tuple[Array, Array]]:
    """Yield kernels of Keras in the same order of rows, each with the bias of its layer."""
    for layer in layers:
        own = [a for a in layer.arrays if a.ndim == 1 and len(a) == shape[0]]
        bias = own[-1].astype(np.float64) if own else np.zeros(shape[0])
        for array in layer.arrays:
            if array.ndim not in (2, 4) or array.size != shape[0] * shape[1]:
                continue
            rows = _reorder(kind, array)
            if rows.shape == shape:
                yield rows, bias


def _reorder(kind: OpKind, kernel: Array) -> Array:
    values = kernel.astype(np.float64)
    if values.ndim == 2:
        return values.T
    if kind is OpKind.DEPTHWISE_CONV_2D:  # height, width, input channel, multiplier
        return values.reshape(values.shape[0] * values.shape[1], -1).T
    order = (2, 0, 1, 3) if kind is OpKind.TRANSPOSE_CONV_2D else (3, 0, 1, 2)
    moved = values.transpose(order)
    return moved.reshape(len(moved), -1)


def _find_factor(rows: Array, kernel: Array) -> Array | None:
    """Return (O,) by what each row of the kernel was multiplied; ``None`` if by no one number."""
    power = np.square(kernel).sum(axis=1)
    known = power > 0
    factor: Array = (rows * kernel).sum(axis=1) / np.where(known, power, 1.0)
    rest = np.linalg.norm(rows - factor[:, None] * kernel, axis=1)
    if not np.all(rest <= _SAME * np.linalg.norm(rows, axis=1)):
        return None
    return np.where(known, factor, np.nan)


def _is_folded(norm: BatchNorm, factor: Array, *, bias: Array, own: Array) -> bool:
    shift = norm.factor * (own - norm.centre)
    slack = _SAME * (np.abs(norm.mean) + np.abs(shift)) + _TINY
    return _is_close(factor, norm.factor) and bool(
        np.all(np.abs(bias - norm.mean - shift) <= slack)
    )


def _is_close(actual: Array, expected: Array) -> bool:
    known = np.isfinite(actual)
    slack = _SAME * np.abs(expected[known]) + _TINY
    return bool(np.all(np.abs(actual[known] - expected[known]) <= slack))
