"""The report as one HTML page that needs nothing else: readable on a phone and in the dark."""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.benchmarks.report.charts import (
    make_bars,
    make_front,
    make_histograms,
    make_shares,
    make_timelines,
    name_row,
)
from edgevision.benchmarks.report.figures import choose_columns, explain_columns
from edgevision.benchmarks.report.templates import render_template
from edgevision.benchmarks.rows import OK, BenchmarkReport

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
        bars=make_bars(report.rows),
        histograms=make_histograms(report.rows),
        front=make_front(report.rows),
        shares=make_shares(report.rows),
        timelines=make_timelines(report.rows),
        left_behind=[(name_row(row), row.left_behind) for row in report.rows if row.left_behind],
        checks=checks,
        legend=explain_columns(columns),
        warnings=report.warnings,
        environment=report.environment,
        conditions=report.conditions,
        data=report.data,
    )
