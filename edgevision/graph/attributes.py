"""What the readers of all formats share when they name attributes; the names are ``Op``'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def name_paddings(pairs: Sequence[int], *, first: int) -> Mapping[str, tuple[int, ...]]:
    """Name the margins of a padding operation.

    Args:
        pairs: (before, after) of every axis, in a row.
        first: Axis of the height in a feature map of rank 4.

    Returns:
        ``padding`` where height and width of a feature map grow and nothing else, otherwise
        ``paddings``.

    >>> name_paddings((0, 0, 1, 2, 3, 4, 0, 0), first=1)
    {'padding': (1, 2, 3, 4)}
    >>> name_paddings((0, 0, 1, 2), first=1)
    {'paddings': (0, 0, 1, 2)}
    """
    inner = tuple(pairs[2 * first : 2 * first + 4])
    others = (*pairs[: 2 * first], *pairs[2 * first + 4 :])
    if len(pairs) == 8 and not any(others):
        return {"padding": inner}
    return {"paddings": tuple(pairs)}
