from __future__ import annotations

import pytest

from edgevision.graph.attributes import name_paddings


@pytest.mark.parametrize("first", [1, 2])
def test_margins_of_height_and_width_are_a_padding(first: int) -> None:
    pairs = (0, 0) * first + (1, 2, 3, 4) + (0, 0) * (2 - first)
    assert name_paddings(pairs, first=first) == {"padding": (1, 2, 3, 4)}


@pytest.mark.parametrize("pairs", [(0, 0, 1, 1, 1, 1, 0, 5), (1, 0) + (0,) * 6, (0, 0, 1, 2, 0, 0)])
def test_other_margins_are_listed_for_every_axis(pairs: tuple[int, ...]) -> None:
    assert name_paddings(pairs, first=1) == {"paddings": pairs}
