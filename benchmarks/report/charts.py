"""What the charts of the page show, as plain numbers for its template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgevision.benchmarks.memory import TFLITE_MICRO, MemoryPlan
from edgevision.benchmarks.operators import OperatorProfile
from edgevision.benchmarks.rows import BenchmarkRow
from edgevision.graph.blocks import name_layer
from edgevision.graph.graph import Graph
from edgevision.units import format_bytes, format_percent

HISTOGRAM_BINS = 32
SLOWEST = 12
ACCURACIES = (("top1", "top-1"), ("map", "mAP"), ("mean_iou", "mean IoU"))


def name_row(row: BenchmarkRow) -> str:
    """Name a row for the legend of a chart."""
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return f"{Path(row.file).name} ({row.device}, {threads})"


def make_bars(rows: Sequence[BenchmarkRow]) -> list[dict[str, Any]]:
    """Return one bar per timed row of real hardware: shares of the widest p90."""
    timed = [(row, row.latency) for row in rows if row.latency is not None and not row.software]
    widest = max((latency.percentile(90) for _, latency in timed), default=1.0)
    return [
        {
            "name": name_row(row),
            "p50": latency.percentile(50),
            "p50_share": 100 * latency.percentile(50) / widest,
            "p90_share": 100 * latency.percentile(90) / widest,
        }
        for row, latency in timed
    ]


def make_histograms(rows: Sequence[BenchmarkRow]) -> list[dict[str, Any]]:
    """Return the distribution of each timed row between its fastest run and its 99th percentile."""
    found = []
    for row in rows:
        if row.latency is None or row.software:
            continue
        low, high = min(row.latency.samples_ms), row.latency.percentile(99)
        width = (high - low) / HISTOGRAM_BINS or 1.0
        counts = [0] * HISTOGRAM_BINS
        for sample in row.latency.samples_ms:
            if sample <= high:
                counts[min(HISTOGRAM_BINS - 1, int((sample - low) / width))] += 1
        tallest = max(counts)
        heights = [100 * count / tallest for count in counts]
        found.append({"name": name_row(row), "heights": heights, "low": low, "high": high})
    return found


def make_shares(rows: Sequence[BenchmarkRow]) -> list[dict[str, Any]]:
    """Return shares of time and of MACs by operation and block, and the slowest layers."""
    return [
        {
            "name": name_row(row),
            "whole_ms": row.operators.whole_ms,
            "residual": format_percent(abs(row.operators.residual)),
            "short": row.operators.residual >= 0,
            "groups": [
                {"title": title, "bars": _make_group(row.operators, key)}
                for title, key in (("By operation", "op"), ("By block", "block"))
            ],
            "slowest": _list_slowest(row.operators),
        }
        for row in rows
        if row.operators is not None
    ]


def _make_group(operators: OperatorProfile, key: str) -> list[dict[str, Any]]:
    shares = operators.group(key)
    widest = max((max(pair) for pair in shares.values()), default=0.0) or 1.0
    return [
        {
            "name": name,
            "time": format_percent(time),
            "macs": format_percent(macs),
            "time_width": 100 * time / widest,
            "macs_width": 100 * macs / widest,
        }
        for name, (time, macs) in shares.items()
    ]


def _list_slowest(operators: OperatorProfile) -> list[tuple[str, ...]]:
    """Return the layers that take most time: name, operation, time, shares of time and MACs."""
    total = sum(op.macs for op in operators.ops) or 1
    ordered = sorted(operators.ops, key=lambda op: -op.scaled_ms)[:SLOWEST]
    return [
        (
            op.name,
            op.op,
            f"{op.scaled_ms:.3f} ms",
            format_percent(op.scaled_ms / operators.whole_ms),
            format_percent(op.macs / total),
        )
        for op in ordered
    ]


def make_timelines(rows: Sequence[BenchmarkRow]) -> list[dict[str, Any]]:
    """Return the arena of each file: a box per buffer, from its first to its last operation."""
    found = {}
    for row in rows:
        graph = row.profile.graph
        if row.file not in found and graph.ops:
            plan = row.profile.plan_arena(TFLITE_MICRO)
            found[row.file] = _make_timeline(Path(row.file).name, graph, plan)
    return list(found.values())


def _make_timeline(name: str, graph: Graph, plan: MemoryPlan) -> dict[str, Any]:
    steps, peak = len(graph.ops), max(plan.peak_bytes, 1)
    boxes = [
        {
            "x": 100 * buffer.first / steps,
            "width": 100 * (buffer.last - buffer.first + 1) / steps,
            "y": 100 * (1 - (buffer.offset + buffer.num_bytes) / peak),
            "height": 100 * buffer.num_bytes / peak,
            "text": f"{_name_tensor(graph, buffer.tensor)}: {format_bytes(buffer.num_bytes)} at "
            f"{format_bytes(buffer.offset)}, operations {buffer.first} to {buffer.last}",
        }
        for buffer in plan.buffers
    ]
    return {
        "name": name,
        "boxes": boxes,
        "steps": steps,
        "peak": format_bytes(plan.peak_bytes),
        "bound": format_bytes(plan.lower_bound_bytes),
    }


def _name_tensor(graph: Graph, tensor: int) -> str:
    writer = graph.producers.get(tensor)
    return "input" if writer is None else name_layer(graph, graph.ops[writer])


def make_front(rows: Sequence[BenchmarkRow]) -> dict[str, Any] | None:
    """Return accuracy against latency of the rows of one task; ``None`` for fewer than two.

    Points that another one beats in both are not on the front.
    """
    for key, heading in ACCURACIES:
        points = [
            (row.latency.percentile(50), float(row.accuracy[key]), row)
            for row in rows
            if row.latency is not None and key in row.accuracy and not row.software
        ]
        if len(points) > 1:
            return _place_points(points, heading)
    return None


def _place_points(
    points: Sequence[tuple[float, float, BenchmarkRow]], heading: str
) -> dict[str, Any]:
    slowest = max(time for time, _, _ in points)
    low, high = (f(value for _, value, _ in points) for f in (min, max))
    margin = max(0.1 * (high - low), 0.005)
    low, high = max(0.0, low - margin), min(1.0, high + margin)
    placed = [
        {
            "x": 100 * time / (1.1 * slowest),
            "y": 100 * (high - value) / (high - low),
            "text": f"{name_row(row)}: {format_percent(value)} in {time:.2f} ms",
            "front": not any(
                t <= time and v >= value and (t, v) != (time, value) for t, v, _ in points
            ),
        }
        for time, value, row in points
    ]
    return {
        "heading": heading,
        "points": placed,
        "front": sorted((p for p in placed if p["front"]), key=lambda p: p["x"]),
        "low": format_percent(low),
        "high": format_percent(high),
        "slowest": f"{1.1 * slowest:.2f} ms",
    }
