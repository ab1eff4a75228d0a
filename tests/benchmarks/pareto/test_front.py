from __future__ import annotations

from edgevision.benchmarks.pareto.front import find_front


def test_what_is_beaten_in_both_is_not_on_the_front() -> None:
    assert find_front([(1.0, 0.9), (2.0, 0.8)]) == [True, False]


def test_what_is_beaten_in_one_and_equal_in_the_other_is_not_either() -> None:
    assert find_front([(1.0, 0.9), (1.0, 0.8), (2.0, 0.9)]) == [True, False, False]


def test_equal_points_are_both_on_it() -> None:
    assert find_front([(1.0, 0.9), (1.0, 0.9)]) == [True, True]


def test_without_figures_there_is_no_front() -> None:
    assert find_front([None, None]) == [False, False]
    assert find_front([]) == []
