"""Which float channel each row of a quantized layer stands for: its own, or one it is a copy of.

Copies are told by their weights. Where one scale serves the whole layer, rows may have a step or
two and resemble no float row; copies still resemble each other, and have nearly the same bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.quantization.diagnosis.places import NOWHERE

Array = np.ndarray[Any, Any]

LEAST_STEPS = 4
"""Channels with fewer steps say nothing: they would look scaled in a collapsed file."""

# Cosines: a row below the first is not its channel's own, and one above the second is another's.
_OWN = 0.9
_COPY = 0.99
# Rows of a step or two that are still told apart from rows of other channels.
_COARSE_OWN = 0.65
# Copies are shifted by less than a step; the means of each are corrected apart.
_MOST_SHIFT = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The rows of one layer in both networks.

    Attributes:
        weights: (C, K) of the float one.
        stored: (Q, K) of the quantized one, Q ≥ C, for the inputs of the float one.
        steps: (Q,) how many steps the largest stored weight of each row has.
        bias: (Q,) float64, stored.
        output_step: Between two integers of the output; 0 where it stayed float.
    """

    weights: Array
    stored: Array
    steps: Array
    bias: Array
    output_step: float


def find_sources(rows: Rows) -> Array:
    """Return the float channel of each quantized one, (Q,) int, ``NOWHERE`` where none is found."""
    num_channels, num_places = len(rows.weights), len(rows.stored)
    sources = np.arange(num_places)
    sources[num_channels:] = NOWHERE
    first, second = _normalize(rows.weights), _normalize(rows.stored)
    likeness = np.full(num_places, -1.0)
    shared = min(num_channels, num_places)
    likeness[:shared] = np.einsum("ck,ck->c", first[:shared], second[:shared])
    unlike = np.flatnonzero((likeness < _OWN) & (rows.steps > 0))
    if not unlike.size:
        return sources
    cosines = second[unlike] @ first.T
    best = cosines.argmax(axis=1)
    copied = (cosines.max(axis=1) > _COPY) & (rows.steps[unlike] >= LEAST_STEPS)
    sources[unlike[copied]] = best[copied]
    # Originals resemble their own float row more than any other.
    lost = unlike[~copied & (best == unlike)]
    originals = np.union1d(np.flatnonzero(likeness >= _OWN), lost)
    originals = originals[likeness[originals] >= _COARSE_OWN]
    for place in unlike[~copied & (likeness[unlike] < _COARSE_OWN)]:
        twins = originals[second[originals] @ second[place] > _COPY]
        found = _choose_by_bias(rows, int(place), twins)
        if found is not None:
            sources[place] = found
    return sources


def _choose_by_bias(rows: Rows, place: int, twins: Array) -> int | None:
    """Return the row whose bias is nearest to that of a place, if it is near enough."""
    if not twins.size:
        return None
    reach = np.abs(rows.stored).max(axis=1)
    apart = np.abs(rows.bias[place] * reach[twins] / reach[place] - rows.bias[twins])
    nearest = int(apart.argmin())
    return int(twins[nearest]) if apart[nearest] <= _MOST_SHIFT * rows.output_step else None


def _normalize(rows: Array) -> Array:
    norms = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(norms > 0, norms, 1))
