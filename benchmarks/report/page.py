"""The report as one HTML page that needs nothing else: readable on a phone and in the dark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.benchmarks.report.figures import choose_columns, explain_columns
from edgevision.benchmarks.report.templates import render_template
from edgevision.benchmarks.rows import OK, BenchmarkReport, BenchmarkRow

HISTOGRAM_BINS = 32
TEMPLATE = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One more result that the page shows above the table.

    Attributes:
        name: What was checked.
        figure: The measured value, written for a person.
        passed: Whether it is good enough.
    """

    name: str
    figure: str
    passed: bool = True


def render_page(report: BenchmarkReport, *, title: str, checks: tuple[Check, ...] = ()) -> str:
    """Return the page.

    Raises:
        BackendUnavailableError: jinja2 is missing.
    """
    columns = choose_columns(report.rows)
    return render_template(
        TEMPLATE,
        title=title,
        headings=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        failures=[row for row in report.rows if row.status != OK],
        notes=[row.adapter_note for row in report.rows if row.adapter_note],
        bars=_make_bars(report.rows),
        histograms=_make_histograms(report.rows),
        checks=checks,
        legend=explain_columns(columns),
        warnings=report.warnings,
        environment=report.environment,
        data=report.data,
    )


def _name_row(row: BenchmarkRow) -> str:
    threads = "1 thread" if row.threads == 1 else f"{row.threads} threads"
    return f"{Path(row.file).name} ({row.device}, {threads})"


def _make_bars(rows: tuple[BenchmarkRow, ...]) -> list[dict[str, Any]]:
    """Return one bar per timed row: shares of the widest p90."""
    timed = [(row, row.latency) for row in rows if row.latency is not None and not row.software]
    widest = max((latency.percentile(90) for _, latency in timed), default=1.0)
    return [
        {
            "name": _name_row(row),
            "p50": latency.percentile(50),
            "p50_share": 100 * latency.percentile(50) / widest,
            "p90_share": 100 * latency.percentile(90) / widest,
        }
        for row, latency in timed
    ]


def _make_histograms(rows: tuple[BenchmarkRow, ...]) -> list[dict[str, Any]]:
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
        found.append({"name": _name_row(row), "heights": heights, "low": low, "high": high})
    return found
