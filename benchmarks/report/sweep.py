"""A sweep as a page, a table and pictures: accuracy against latency, MACs and file size."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from math import floor, log10
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.benchmarks.pareto.pareto import COSTS, ParetoReport, get_cost
from edgevision.benchmarks.report.templates import render_template
from edgevision.outputs import atomic_path, write_text
from edgevision.units import NOTHING, format_bytes, format_count, format_percent

METRICS = {"top1": "top-1", "map": "mAP", "mean_iou": "mean IoU"}
_MARGIN = 0.06

Row = Mapping[str, Any]


def check_drawable() -> None:
    """Fail before anything is trained when no report could be written afterwards.

    Raises:
        BackendUnavailableError: jinja2 or matplotlib is missing.
    """
    import_backend("jinja2")
    import_backend("matplotlib")


def write_sweep(report: ParetoReport, folder: str | Path) -> dict[str, str]:
    """Write ``pareto.json``, ``.csv``, ``.html``, ``.png`` and ``.svg``; earlier ones are replaced.

    Args:
        report: What ``pareto`` returned.
        folder: Of the sweep.

    Returns:
        The paths, by ending.

    Raises:
        BackendUnavailableError: jinja2 or matplotlib is missing.
        OutputError: The folder can not be written.
    """
    base = Path(folder)
    write_text(base / "pareto.json", json.dumps(report.to_dict(), indent=2))
    write_text(base / "pareto.csv", _write_csv(make_table(report)))
    write_text(base / "pareto.html", render_sweep(report))
    for ending in ("png", "svg"):
        draw_sweep(report, base / f"pareto.{ending}")
    endings = ("json", "csv", "html", "png", "svg")
    return {ending: str(base / f"pareto.{ending}") for ending in endings}


def make_table(report: ParetoReport) -> dict[str, list[str]]:
    """Return the cells of each column, as people read them."""
    score = METRICS[report.metric]
    rows = report.rows
    return {
        "network": [name_row(row) for row in rows],
        f"int8 {score}": [format_percent(row["score"]) for row in rows],
        f"float {score}": [_write_float_score(row, report.metric) for row in rows],
        "p50": [write_cost(row, "latency") for row in rows],
        "MACs": [write_cost(row, "macs") for row in rows],
        "file size": [write_cost(row, "bytes") for row in rows],
        "activations": [format_bytes(row.get("peak_activation_bytes")) for row in rows],
        "on the front of": [", ".join(COSTS[key] for key in row["front"]) for row in rows],
    }


def name_row(row: Row) -> str:
    """Name a point.

    >>> name_row({"point": {"name": "mobilenet_v1", "alpha": 0.5, "input_size": [96, 96]}})
    'mobilenet_v1 0.5 @96'
    """
    point = row["point"]
    height, width = point["input_size"]
    size = f"{height}" if height == width else f"{height}x{width}"
    return f"{point['name']} {point['alpha']:g} @{size}"


def write_cost(row: Row, key: str) -> str:
    """Write one cost for people."""
    cost = get_cost(row, key)
    if cost is None:
        return NOTHING
    return _FORMATS[key](cost)


_FORMATS: Mapping[str, Callable[[float], str]] = {
    "latency": lambda cost: f"{cost:.2f} ms",
    "macs": format_count,
    "bytes": lambda cost: format_bytes(int(cost)),
}


def render_sweep(report: ParetoReport) -> str:
    """Return the page.

    Raises:
        BackendUnavailableError: jinja2 is missing.
    """
    columns = make_table(report)
    plots = [plot for key in COSTS if (plot := make_plot(report, key)) is not None]
    failures = [(name_row(r), r.get("stage", "latency"), r["reason"]) for r in report.rows]
    return render_template(
        "sweep.html",
        title="edgevision pareto",
        metric=METRICS[report.metric],
        headings=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        failures=[failure for failure in failures if failure[-1]],
        plots=plots,
        warnings=report.warnings,
        environment=report.environment,
        data=report.data,
    )


def make_plot(report: ParetoReport, key: str) -> dict[str, Any] | None:
    """Lay out accuracy over one cost, the cost by its logarithm, in a field of 100 × 100.

    Returns:
        Dots, the front from left to right, and the ends of both axes; ``None`` without figures.
    """
    known = [(row, cost) for row in report.rows if (cost := get_cost(row, key)) is not None]
    if not known:
        return None
    across = _scale([log10(cost) for _, cost in known])
    up = _scale([row["score"] for row, _ in known])
    dots = [
        {
            "x": round(100 * x, 2),
            "y": round(100 * (1 - y), 2),
            "front": key in row["front"],
            "text": f"{name_row(row)}: {format_percent(row['score'])}, {write_cost(row, key)}",
        }
        for (row, _), x, y in zip(known, across, up, strict=True)
    ]
    cheapest = min(known, key=lambda pair: pair[1])[0]
    dearest = max(known, key=lambda pair: pair[1])[0]
    scores = [row["score"] for row, _ in known]
    return {
        "name": COSTS[key],
        "dots": dots,
        "front": sorted((d for d in dots if d["front"]), key=lambda d: (d["x"], d["y"])),
        "costs": (write_cost(cheapest, key), write_cost(dearest, key)),
        "scores": (format_percent(min(scores)), format_percent(max(scores))),
    }


def draw_sweep(report: ParetoReport, path: Path) -> None:
    """Draw accuracy against every cost; the points on a front are joined and named.

    Args:
        report: What ``pareto`` returned.
        path: A ``.png`` or ``.svg`` file.

    Raises:
        BackendUnavailableError: matplotlib is not installed.
        OutputError: The place can not be written.
    """
    import_backend("matplotlib")
    figure_class = import_backend("matplotlib.figure").Figure
    figure = figure_class(figsize=(15, 4.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(COSTS)), COSTS, strict=True):
        _draw_panel(axes, report, key)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_panel(axes: Any, report: ParetoReport, key: str) -> None:
    unit = {"latency": "ms, median", "macs": "millions", "bytes": "KiB, int8"}[key]
    divisor = {"latency": 1.0, "macs": 1e6, "bytes": 1024.0}[key]
    known = [
        (cost / divisor, 100 * row["score"], row)
        for row in report.rows
        if (cost := get_cost(row, key)) is not None
    ]
    axes.set(xlabel=f"{COSTS[key]} ({unit})", ylabel=f"{METRICS[report.metric]} (%)")
    axes.grid(alpha=0.3)
    if not known:
        axes.text(0.5, 0.5, "not measured", ha="center", transform=axes.transAxes)
        return
    axes.set_xscale("log")
    axes.scatter([c for c, _, _ in known], [s for _, s, _ in known], color="tab:gray", s=18)
    front = sorted((c, s, name_row(row)) for c, s, row in known if key in row["front"])
    axes.plot([c for c, _, _ in front], [s for _, s, _ in front], marker="o", color="tab:blue")
    for cost, score, name in front:
        axes.annotate(name, (cost, score), (4, -10), textcoords="offset points", fontsize=7)
    _label_ticks(axes, [c for c, _, _ in known])


def _label_ticks(axes: Any, costs: Sequence[float]) -> None:
    """Write plain numbers: within one power of ten, a logarithmic axis would have no label."""
    low, high = min(costs), max(costs)
    steps = 4
    ticks = [low * (high / low) ** (i / steps) for i in range(steps + 1)] if high > low else [low]
    axes.set_xticks(ticks, [_round(tick) for tick in ticks])
    axes.minorticks_off()


def _round(value: float) -> str:
    """Write three digits.

    >>> _round(1234.5), _round(0.12345), _round(3.0)
    ('1230', '0.123', '3')
    """
    digits = 2 - floor(log10(value))
    return f"{round(value, digits):g}"


def _scale(values: Sequence[float]) -> list[float]:
    """Spread values over [0, 1], with a margin; equal ones stand in the middle."""
    low, high = min(values), max(values)
    if high == low:
        return [0.5] * len(values)
    return [_MARGIN + (1 - 2 * _MARGIN) * (v - low) / (high - low) for v in values]


def _write_float_score(row: Row, metric: str) -> str:
    figures = row.get("float_accuracy")
    return format_percent(figures[metric]) if figures else NOTHING


def _write_csv(columns: Mapping[str, Sequence[str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()
