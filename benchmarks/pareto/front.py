"""Which of several networks no other one beats."""

from __future__ import annotations

from collections.abc import Sequence


def find_front(points: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Tell which points are on the Pareto front: nothing else is as cheap and at least as good.

    Args:
        points: ``(cost, score)`` each, less and more being better; ``None`` where one is unknown.

    Returns:
        Whether each point is on the front; points without figures never are. Of equal points all
        are.

    >>> find_front([(1, 0.5), (2, 0.9), (2, 0.8), (3, 0.9), None])
    [True, True, False, False, False]
    """
    known = [point for point in points if point is not None]
    return [point is not None and not any(_beats(q, point) for q in known) for point in points]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]
