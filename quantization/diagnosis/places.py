"""Where the channels of a float activation are in the quantized network, and how they look there.

Equalization scales a channel. Spare and added channels go further: a channel may be there more than
once, its copies shifted against each other by a part of a step, and a dead one not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NOWHERE = -1
"""Source of a quantized channel that stands for none."""

# Rounding alone moves the norm of a channel's weights by less.
_LEAST_CHANGE = 0.1
_MOST_REFINED = 1.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """The places of the channels of one activation: C float and Q quantized ones.

    Attributes:
        num_channels: C.
        sources: (Q,) int, the float channel that each quantized one stands for, or ``NOWHERE``.
        factors: (Q,) float32, by how much it was multiplied.
        shifts: (Q,) float32, what was added then; the mean over all places of a channel is zero.
    """

    num_channels: int
    sources: Array
    factors: Array
    shifts: Array

    @classmethod
    def place(cls, num_channels: int, sources: Array, factors: Array) -> Places:
        """Return places without shifts."""
        values = np.asarray(factors, np.float32)
        return cls(
            num_channels=num_channels,
            sources=np.asarray(sources),
            factors=values,
            shifts=np.zeros_like(values),
        )

    @classmethod
    def keep(cls, num_channels: int, factors: Array | None = None) -> Places:
        """Return places where every channel is where it was."""
        values = np.ones(num_channels) if factors is None else factors
        return cls.place(num_channels, np.arange(num_channels), values)

    @property
    def num_places(self) -> int:
        """Q."""
        return int(self.sources.size)

    @cached_property
    def counts(self) -> Array:
        """(C,) places that each channel has; 0 for one that was dropped."""
        return np.bincount(self.sources[self._used], minlength=self.num_channels)

    @property
    def moved(self) -> bool:
        """Whether a channel is elsewhere, more than once, or not there."""
        return not np.array_equal(self.sources, np.arange(self.num_channels))

    @property
    def plain(self) -> bool:
        """Whether every channel is what it was."""
        return not self.moved and bool(
            np.abs(self.factors - 1).max(initial=0) <= _LEAST_CHANGE and not self.shifts.any()
        )

    def spread(self, values: Array) -> Array:
        """Return (…, C) values as (…, Q) scaled ones, without shifts."""
        if not self.moved:
            return np.asarray(values * self.factors, np.float32)
        scaled = np.take(values, np.maximum(self.sources, 0), axis=-1) * self.factors
        return np.asarray(np.where(self._used, scaled, 0), np.float32)

    def gather(self, values: Array) -> Array:
        """Return (…, C) float values as the quantized network holds them, (…, Q) float32."""
        return np.asarray(self.spread(values) + self.shifts, np.float32)

    def restore(self, values: Array, expected: Array) -> Array:
        """Return (…, Q) values of the quantized network as those of the float one.

        Args:
            values: What readers see of a channel is the mean of its copies, and so is the result.
            expected: (…, C) taken for channels without a place: nobody reads those.
        """
        return self.average(values - self.shifts, expected)

    def average(self, values: Array, expected: Array) -> Array:
        """Do what ``restore`` does with values that are not shifted, such as weights."""
        if not self.moved:
            return np.asarray(values / self.factors, np.float32)
        weights = 1 / (self.factors * np.maximum(self.counts[self.sources], 1))
        gone = self.counts == 0
        return np.asarray(np.where(gone, expected, self._sum(values * weights)), np.float32)

    def collect(self, weights: Array) -> Array:
        """Return (…, Q) weights that read the places as (…, C) ones that read the channels."""
        scaled = weights * self.factors
        return np.asarray(self._sum(scaled) if self.moved else scaled, np.float32)

    def divide(self, weights: Array) -> Array:
        """Return (…, C) weights shared out between the places, (…, Q): what ``collect`` undoes."""
        shares = 1 / (np.square(self.factors) * np.maximum(self.counts[self.sources], 1))
        return np.asarray(self.spread(weights) * shares, np.float32)

    def scale(self, factors: Array | float) -> Places:
        """Return the same places with channels multiplied once more, by (Q,) factors."""
        values = np.asarray(factors, np.float32)
        return replace(self, factors=self.factors * values, shifts=self.shifts * values)

    def shift(self, offsets: Array) -> Places:
        """Return the places with copies shifted by what their (Q,) offsets differ from the mean."""
        scaled = np.asarray(offsets / self.factors, np.float64)
        means = self._sum(scaled) / np.maximum(self.counts, 1)
        apart = (scaled - means[self.sources]) * self.factors
        alone = ~self._used | (self.counts[self.sources] < 2)
        return replace(self, shifts=np.where(alone, 0, apart).astype(np.float32))

    def refine(self, expected: Array, actual: Array) -> Places:
        """Fit the factors to the activations, near what the weights tell.

        Rounded weights tell a factor to a few percent, and the errors of one layer would go into
        the next one's: after twenty layers nothing could be said of them.

        Args:
            expected: (N, …, C) float32 of the float network.
            actual: (N, …, Q) float32 of the quantized one.
        """
        product, power = np.zeros(self.num_places), np.zeros(self.num_places)
        for one, other in zip(expected, actual, strict=True):
            scaled = self.spread(one).reshape(-1, self.num_places)
            product += np.einsum("nc,nc->c", scaled, other.reshape(scaled.shape) - self.shifts)
            power += np.einsum("nc,nc->c", scaled, scaled)
        used = power > 0
        factors = np.ones(self.num_places)
        factors[used] = np.clip(product[used] / power[used], 1 / _MOST_REFINED, _MOST_REFINED)
        return replace(self, factors=np.asarray(self.factors * factors, np.float32))

    @property
    def _used(self) -> Array:
        used: Array = self.sources != NOWHERE
        return used

    @cached_property
    def _turns(self) -> list[Array]:
        """The places in turns, so that no channel occurs twice in one."""
        rest, turns = np.flatnonzero(self._used), []
        while rest.size:
            _, first = np.unique(self.sources[rest], return_index=True)
            turns.append(rest[first])
            rest = np.delete(rest, first)
        return turns

    def _sum(self, values: Array) -> Array:
        """Sum (…, Q) over the places of each channel: (…, C)."""
        total = np.zeros((*values.shape[:-1], self.num_channels), values.dtype)
        for places in self._turns:
            total[..., self.sources[places]] += values[..., places]
        return total


def join_places(parts: list[Places]) -> Places:
    """Put the channels of several activations behind each other."""
    starts = np.cumsum([0, *(part.num_channels for part in parts)])
    sources = [
        np.where(part.sources == NOWHERE, NOWHERE, part.sources + start)
        for part, start in zip(parts, starts[:-1], strict=True)
    ]
    return Places(
        num_channels=int(starts[-1]),
        sources=np.concatenate(sources),
        factors=np.concatenate([part.factors for part in parts]),
        shifts=np.concatenate([part.shifts for part in parts]),
    )
