"""Writing a benchmark report into a folder."""

from __future__ import annotations

import json
from pathlib import Path

from edgevision.backends import import_backend
from edgevision.benchmarks.report.markdown import render_markdown
from edgevision.benchmarks.report.page import Check, render_page
from edgevision.benchmarks.report.table import render_csv
from edgevision.benchmarks.rows import BenchmarkReport
from edgevision.outputs import check_writable, write_text


def check_reportable(folder: str | Path) -> None:
    """Fail before the measuring starts when no report could be written afterwards.

    Raises:
        BackendUnavailableError: jinja2 is missing.
        OutputError: The folder can not be written.
    """
    import_backend("jinja2")
    check_writable(Path(folder) / "report.html")


def write_report(
    report: BenchmarkReport,
    folder: str | Path,
    *,
    title: str = "edgevision benchmark",
    checks: tuple[Check, ...] = (),
) -> dict[str, str]:
    """Write ``report.json``, ``.md``, ``.csv`` and ``.html``; existing ones are replaced.

    Args:
        report: What ``benchmark`` measured.
        folder: Where the files go; created when missing.
        title: Heading of the page.
        checks: Further results to show on the page, such as agreement between files.

    Returns:
        The paths, by ``json``, ``markdown``, ``csv`` and ``html``.

    Raises:
        BackendUnavailableError: jinja2 is missing.
        OutputError: The folder can not be written.
    """
    base = Path(folder)
    page = render_page(report, title=title, checks=checks)
    contents = {
        "json": ("report.json", json.dumps(report.to_dict(), indent=2)),
        "markdown": ("report.md", render_markdown(report, title=title)),
        "csv": ("report.csv", render_csv(report)),
        "html": ("report.html", page),
    }
    for name, text in contents.values():
        write_text(base / name, text)
    return {kind: str(base / name) for kind, (name, _) in contents.items()}
