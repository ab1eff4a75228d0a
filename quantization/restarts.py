"""More of learned rounding, for as long as it may take: restarts, and the best row of all.

Descent on single integers (``descent.py``) stops after a few moves, in a minimum that depends on
where it began: on the order in which second-order rounding (``rounding.py``) took the weights, and
on the step. GPTQ is Babai's nearest plane algorithm on a lattice (Babai 1986),
whose answer is as good as its order. So rows are rounded again in random orders with random steps,
and each row keeps the best that it ever had, by the error of its outputs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgevision.quantization.descent import descend, fit_scales, measure_loss
from edgevision.quantization.layers import Layer
from edgevision.quantization.rounding import (
    MAX_SIZE,
    STEP_RANGE,
    damp,
    round_layer,
    round_weights,
)

Array = np.ndarray[Any, Any]

# Weights that outputs feel more than e times as much as others seldom change places.
_SHUFFLE = 1.0
# Ends where so many restarts together gained less than this share of what is left.
_PATIENCE = 16
_GAIN = 1e-3


@dataclass(slots=True, kw_only=True, eq=False)
class RoundingTime:
    """Seconds for all layers of a network; each may take a share by its number of weights.

    What a layer leaves over goes to those behind it.

    Attributes:
        seconds: That are left.
        weights: Of the layers that are left.
    """

    seconds: float
    weights: int

    def round(self, layer: Layer) -> Layer:
        """Round a layer within its share; see ``refine_layer``."""
        start = time.perf_counter()
        share = self.seconds * layer.weights.size / max(self.weights, layer.weights.size)
        refined = refine_layer(layer, seconds=share)
        self.seconds = max(0.0, self.seconds - (time.perf_counter() - start))
        self.weights -= layer.weights.size
        return refined


def refine_layer(layer: Layer, *, seconds: float) -> Layer:
    """Round a layer as ``round_layer`` does, then from other starts until nothing improves.

    Args:
        layer: With its moments.
        seconds: After which no further start is tried; the first solution always is.

    Returns:
        The layer; no row has a larger error than ``round_layer`` gives it. The same every time,
        unless time ends it.
    """
    start = time.perf_counter()
    rounded = round_layer(layer)
    if layer.weights.shape[2] > MAX_SIZE:
        return rounded
    state = _Search(layer=layer, rounded=rounded)
    history = [state.error]
    longest = 0.0
    while time.perf_counter() - start + longest < seconds:
        begin = time.perf_counter()
        state.restart()
        longest = max(longest, time.perf_counter() - begin)
        history.append(state.error)
        if len(history) > _PATIENCE and history[-1] >= (1 - _GAIN) * history[-1 - _PATIENCE]:
            break
    return replace(rounded, integers=state.integers, scales=state.scales)


@dataclass(slots=True, kw_only=True, eq=False)
class _Search:
    """The best rows so far."""

    layer: Layer
    rounded: Layer
    integers: Array = field(init=False)
    scales: Array = field(init=False)
    _metric: Array = field(init=False)
    _loss: Array = field(init=False)
    _rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        moments = self.layer.moments
        self.integers, self.scales = self.rounded.integers, self.rounded.scales
        self._metric = damp(moments.covariance, num_rows=moments.num_rows)
        self._loss = self._measure(self.scales, self.integers)
        self._rng = np.random.default_rng(self.layer.op.index)

    @property
    def error(self) -> float:
        """Sum over the rows of the mean squared error of their outputs."""
        return float(self._loss.sum())

    def restart(self) -> None:
        """Round all rows once more, and keep those that came out better."""
        target = self.layer.target.astype(np.float64)
        scales = self._draw_scales()
        integers = round_weights(target, scales, self._metric, order=self._draw_order())
        integers = descend(target, scales, integers, metric=self._metric)
        if not self.layer.shares_scale:
            scales = fit_scales(target, scales, integers, metric=self._metric)
        loss = self._measure(scales, integers)
        better = loss < self._loss
        self._loss = np.where(better, loss, self._loss)
        self.scales = np.where(better, scales, self.scales)
        self.integers = np.where(better[:, :, None], integers, self.integers)

    def _draw_scales(self) -> Array:
        if self.layer.shares_scale:
            return self.rounded.scales
        steps: Array = self.layer.scales * self._rng.uniform(*STEP_RANGE, self.scales.shape)
        return steps

    def _draw_order(self) -> Array:
        felt = np.log(np.diagonal(self._metric, axis1=1, axis2=2))
        order: Array = np.argsort(-felt - self._rng.normal(0, _SHUFFLE, felt.shape), axis=1)
        return order

    def _measure(self, scales: Array, integers: Array) -> Array:
        target = self.layer.target.astype(np.float64)
        return measure_loss(target, scales, integers, metric=self._metric)
