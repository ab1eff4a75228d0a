"""How figures are written for people, in tables on the terminal and in reports alike."""

from __future__ import annotations

import math

NOTHING = "–"
"""What stands where there is no figure."""


def format_count(value: int | float | None) -> str:
    """Write a large count in thousands or millions.

    >>> format_count(41030272), format_count(475544), format_count(12), format_count(None)
    ('41.03 M', '475.5 k', '12', '–')
    """
    if value is None:
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.{2 if unit != 'k' else 1}f} {unit}"
    return f"{value:g}"


def format_bytes(value: int | None) -> str:
    """Write a size in units of 1024 bytes.

    >>> format_bytes(866284), format_bytes(1536 * 1024), format_bytes(12), format_bytes(None)
    ('846.0 KiB', '1.50 MiB', '12 B', '–')
    """
    if value is None:
        return NOTHING
    if value >= 1 << 20:
        return f"{value / (1 << 20):.2f} MiB"
    return f"{value / 1024:.1f} KiB" if value >= 1024 else f"{value} B"


def format_percent(fraction: float | None) -> str:
    """Write a fraction as a percentage.

    >>> format_percent(0.9537), format_percent(None)
    ('95.4 %', '–')
    """
    return NOTHING if fraction is None or math.isnan(fraction) else f"{100 * fraction:.1f} %"
