from __future__ import annotations

import pytest

from edgevision.benchmarks.budget import Budget, Miss, parse_amount
from edgevision.errors import InvalidConfigError


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("50M", 50_000_000),
        ("1.5m", 1_500_000),
        (".5G", 500_000_000),
        ("256KB", 256_000),
        ("256kb", 256_000),
        ("256KiB", 256 * 1024),
        ("1 MiB", 1024**2),
        ("2Gi", 2 * 1024**3),
        ("300B", 300),
    ],
)
def test_amounts(text: str, amount: int) -> None:
    assert parse_amount(text, "--max-ram") == amount


@pytest.mark.parametrize("text", ["", "M", "1X", "-1M", "1e6", "1,000", "one", "1M 2M"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidConfigError, match="--max-macs"):
        parse_amount(text, "--max-macs")


def test_none_and_numbers_pass_through() -> None:
    assert parse_amount(None, "x") is None
    assert parse_amount(7, "x") == 7


@pytest.mark.parametrize("limit", [0, -5])
def test_a_budget_is_above_zero(limit: int) -> None:
    with pytest.raises(InvalidConfigError, match="above 0"):
        Budget(ram=limit)


def test_misses() -> None:
    budget = Budget(macs=100, ram=1000)
    cost = {"macs": 150, "params": 10**9, "bytes": 10**9, "ram": 1000}
    assert budget.find_misses(cost) == (Miss(quantity="macs", needed=150, limit=100),)
    (miss,) = budget.find_misses(cost)
    assert miss.ratio == 1.5
    assert str(miss) == "150 MACs where 100 are allowed, 50% over"
