"""Placing buffers with known lifetimes in one piece of memory."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain


@dataclass(slots=True)
class Span:
    """A buffer and its lifetime.

    Attributes:
        tensor: Index of the tensor that is written there first.
        num_bytes: Its size.
        first: Index of the operation that writes it.
        last: Index of the last operation that needs it.
        shared: Further tensors in the same bytes.
    """

    tensor: int
    num_bytes: int
    first: int
    last: int
    shared: list[int]


def place_best_fit(spans: list[Span], num_ops: int, alignment: int) -> tuple[list[int], int]:
    """Place each buffer into the smallest gap that fits among those alive at the same time.

    Largest first; buffers of equal size in the order of their use, and once more in the reverse
    order where that may help.

    Args:
        spans: The buffers, in the order of their first use.
        num_ops: Operations of the network.
        alignment: Every offset is a multiple of it, in bytes.

    Returns:
        The offset of every buffer, and the size of the arena, in bytes.
    """
    order = sorted(range(len(spans)), key=lambda i: -spans[i].num_bytes)
    offsets, peak = _place_in_order(spans, order, num_ops, alignment)
    if peak > find_lower_bound(spans, num_ops):
        order = sorted(order, key=lambda i: (-spans[i].num_bytes, -i))
        others, other_peak = _place_in_order(spans, order, num_ops, alignment)
        if other_peak < peak:
            offsets, peak = others, other_peak
    return offsets, peak


def place_first_fit(spans: list[Span], num_ops: int, alignment: int) -> tuple[list[int], int]:
    """Place each buffer into the first gap that fits, as TFLite Micro's greedy planner does.

    Largest first, by sizes rounded up to the alignment; buffers of equal size from the last
    tensor of the file to the first.

    Args:
        spans: The buffers, in the order of their first use.
        num_ops: Operations of the network.
        alignment: Every offset and size is a multiple of it, in bytes.

    Returns:
        The offset of every buffer, and the size of the arena, in bytes.
    """
    sizes = [-(-span.num_bytes // alignment) * alignment for span in spans]
    order = sorted(range(len(spans)), key=lambda i: (-sizes[i], -spans[i].tensor))
    offsets = [0] * len(spans)
    taken: list[list[tuple[int, int]]] = [[] for _ in range(max(num_ops, 1))]
    peak = 0
    for index in order:
        span, size = spans[index], sizes[index]
        steps = taken[span.first : span.last + 1]
        cursor = 0
        for start, stop in sorted(set(chain.from_iterable(steps))):
            if start - cursor >= size:
                break
            cursor = max(cursor, stop)
        for step in steps:
            step.append((cursor, cursor + size))
        offsets[index] = cursor
        peak = max(peak, cursor + size)
    return offsets, peak


def _place_in_order(
    spans: list[Span], order: list[int], num_ops: int, alignment: int
) -> tuple[list[int], int]:
    """Place each span into the smallest gap that fits; return the offsets and the peak."""
    offsets = [0] * len(spans)
    # For each operation, the ranges already taken there: only these can be in the way.
    taken: list[list[tuple[int, int]]] = [[] for _ in range(max(num_ops, 1))]
    peak = 0
    for index in order:
        span = spans[index]
        steps = taken[span.first : span.last + 1]
        offset = _find_gap(sorted(set(chain.from_iterable(steps))), span.num_bytes, alignment)
        stop = offset + span.num_bytes
        for step in steps:
            step.append((offset, stop))
        offsets[index] = offset
        peak = max(peak, stop)
    return offsets, peak


def _find_gap(placed: list[tuple[int, int]], num_bytes: int, alignment: int) -> int:
    """Return the start of the smallest gap between ``placed`` ranges, or the place behind them."""
    best, best_bytes = -1, 0
    cursor = 0
    for start, stop in placed:
        gap = start - cursor
        if gap >= num_bytes and (best < 0 or gap < best_bytes):
            best, best_bytes = cursor, gap
        if stop > cursor:
            cursor = -(-stop // alignment) * alignment
    return cursor if best < 0 else best


def find_lower_bound(spans: list[Span], num_ops: int) -> int:
    """Return the most bytes alive at any one operation: no planner needs less."""
    changes = [0] * (num_ops + 2)
    for span in spans:
        changes[span.first] += span.num_bytes
        changes[span.last + 1] -= span.num_bytes
    return max(accumulate(changes))
