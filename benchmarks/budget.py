"""What a device can afford, and by how much a network misses it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.units import format_bytes, format_count

_PREFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_BINARY = {"KI": 2**10, "MI": 2**20, "GI": 2**30}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-zA-Z]*)\s*")

QUANTITIES: Mapping[str, str] = MappingProxyType(
    {"macs": "MACs", "params": "parameters", "bytes": "file bytes", "ram": "RAM bytes"}
)
"""What can be limited, by key, and how it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that a network may need; ``None`` sets no limit.

    Attributes:
        macs: Multiply-accumulates of one inference.
        params: Weights, BatchNorm statistics included.
        bytes: Size of the int8 file.
        ram: Bytes of the activations of the int8 file.
    """

    macs: int | None = None
    params: int | None = None
    bytes: int | None = None
    ram: int | None = None

    def __post_init__(self) -> None:
        for key, limit in self.to_dict().items():
            if limit is not None and limit < 1:
                raise InvalidConfigError(
                    "a budget must be above 0", received=f"max_{key}={limit}", remedy="leave it out"
                )

    def find_misses(self, cost: Mapping[str, int]) -> tuple[Miss, ...]:
        """Return what ``cost`` needs beyond the budget.

        Args:
            cost: Amount by key of ``QUANTITIES``.
        """
        return tuple(
            Miss(quantity=key, needed=cost[key], limit=limit)
            for key, limit in self.to_dict().items()
            if limit is not None and cost[key] > limit
        )

    def to_dict(self) -> dict[str, int | None]:
        """Return the limits by key of ``QUANTITIES``."""
        return {key: getattr(self, key) for key in QUANTITIES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One limit that a network breaks.

    Attributes:
        quantity: A key of ``QUANTITIES``.
        needed: What the network needs.
        limit: What the budget allows.
    """

    quantity: str
    needed: int
    limit: int

    @property
    def ratio(self) -> float:
        """How many times the limit is needed; above 1."""
        return self.needed / self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"quantity": self.quantity, "needed": self.needed, "limit": self.limit}

    def __str__(self) -> str:
        form = format_bytes if self.quantity in ("bytes", "ram") else format_count
        name = "RAM" if self.quantity == "ram" else QUANTITIES[self.quantity]
        needed, limit = form(self.needed), form(self.limit)
        return f"{needed} {name} where {limit} are allowed, {self.ratio - 1:.0%} over"


def parse_amount(value: str | int | None, option: str) -> int | None:
    """Read an amount such as ``50M``, ``1.5MB``, ``256KB`` or ``256KiB``.

    K, M and G are powers of 1,000; Ki, Mi and Gi of 1,024; a B behind them changes nothing.

    Args:
        value: Text or number; ``None`` passes through.
        option: Whose value it is, for the error message.

    Raises:
        InvalidConfigError: The text is no amount.

    >>> parse_amount("50M", "--max-macs"), parse_amount("256KB", "--max-ram")
    (50000000, 256000)
    >>> parse_amount("1.5 MiB", "--max-bytes"), parse_amount(4096, "--max-ram")
    (1572864, 4096)
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match = _AMOUNT.fullmatch(str(value))
    unit = match[2].upper().removesuffix("B") if match else ""
    factor = _PREFIXES.get(unit) or _BINARY.get(unit)
    if match is None or factor is None:
        raise InvalidConfigError(
            "an amount is a number with an optional unit",
            received=f"{option} {value}",
            remedy="for example 50M, 1.5MB, 256KB or 256KiB",
        )
    return round(float(match[1]) * factor)
