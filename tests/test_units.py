from __future__ import annotations

import pytest

from edgevision.units import NOTHING, format_bytes, format_count, format_percent


@pytest.mark.parametrize("write", [format_count, format_bytes, format_percent])
def test_what_is_unknown_is_a_dash(write) -> None:  # type: ignore[no-untyped-def]
    assert write(None) == NOTHING


def test_counts_and_sizes_grow_by_their_own_steps() -> None:
    assert format_count(10**9) == "1.00 G"
    assert format_count(999) == "999"
    assert format_bytes(1023) == "1023 B"
    assert format_bytes(1024) == "1.0 KiB"
    assert format_percent(float("nan")) == NOTHING
