from __future__ import annotations

import numpy as np
import pytest

from edgevision.quantization.diagnosis.places import NOWHERE, Places, join_places

# Channel 0 twice, 1 not at all, 2 scaled, and a place that nobody uses.
SOURCES, FACTORS = np.array([0, 0, 2, NOWHERE]), np.array([1.0, 2.0, 4.0, 1.0])
VALUES = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)


def build() -> Places:
    return Places.place(3, SOURCES, FACTORS).shift(np.array([0.5, 0.2, 7.0, 3.0]))


def test_only_copies_are_shifted_and_around_their_mean() -> None:
    places = build()
    assert places.counts.tolist() == [2, 0, 1]
    # 0.5 of the first place and 0.2 / 2 of the second: 0.2 on either side of their mean.
    assert places.shifts == pytest.approx([0.2, -0.4, 0, 0])
    assert places.moved
    assert not places.plain


def test_values_there_and_back() -> None:
    places = build()
    there = places.gather(VALUES)
    assert there.shape == (5, 2, 4)
    assert there[..., 1] == pytest.approx(2 * VALUES[..., 0] - 0.4, abs=1e-6)
    assert not there[..., 3].any()
    expected = np.full_like(VALUES, 9)
    back = places.restore(there, expected)
    assert back[..., [0, 2]] == pytest.approx(VALUES[..., [0, 2]], abs=1e-6)
    assert (back[..., 1] == 9).all()  # nobody reads it any more


def test_the_error_of_a_channel_is_the_mean_of_its_copies() -> None:
    places = build()
    there = places.gather(VALUES)
    there[..., 0] += 0.1
    back = places.restore(there, VALUES)
    assert back[..., 0] - VALUES[..., 0] == pytest.approx(0.05, abs=1e-6)


def test_readers_of_the_places_compute_what_readers_of_the_channels_do() -> None:
    places = Places.place(3, SOURCES, FACTORS)
    weights = VALUES[0] * [1, 0, 1]
    shared = places.divide(weights)
    assert places.gather(VALUES) @ shared.T == pytest.approx(VALUES @ weights.T, abs=1e-5)
    assert places.collect(shared) == pytest.approx(weights, abs=1e-6)


def test_factors_are_fitted_to_the_activations_but_not_far() -> None:
    places = Places.keep(3, np.array([2.0, 2.0, 2.0]))
    fitted = places.refine(VALUES, VALUES * np.float32([2.1, 1.9, 20]))
    assert fitted.factors == pytest.approx([2.1, 1.9, 2.5], rel=1e-5)


def test_joined_activations() -> None:
    joined = join_places([build(), Places.keep(2)])
    assert joined.num_channels == 5
    assert joined.sources.tolist() == [0, 0, 2, NOWHERE, 3, 4]


def test_channels_that_are_what_they_were() -> None:
    assert Places.keep(4).plain
    assert not Places.keep(4, np.array([1, 1, 1, 2.0])).plain
    assert not Places.keep(4).scale(6).plain
