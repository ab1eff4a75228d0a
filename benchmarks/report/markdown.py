"""The report as a Markdown table."""

from __future__ import annotations

from edgevision.benchmarks.report.figures import choose_columns, explain_columns
from edgevision.benchmarks.rows import OK, BenchmarkReport


def render_markdown(report: BenchmarkReport, *, title: str) -> str:
    """Return the whole report as GitHub-flavoured Markdown."""
    columns = choose_columns(report.rows)
    headings = list(columns)
    lines = [f"# {title}", "", _table_row(headings)]
    lines.append(_table_row(["---" if i == 0 else "---:" for i in range(len(headings))]))
    lines += [_table_row(list(cells)) for cells in zip(*columns.values(), strict=True)]
    lines.append("")
    lines += [
        f"- {row.file} on {row.device}: {row.reason}" for row in report.rows if row.status != OK
    ]
    lines += [f"- {row.adapter_note}" for row in report.rows if row.adapter_note]
    lines += [f"- **Warning:** {text}" for text in report.warnings]
    lines += [f"- {name}: {meaning}" for name, meaning in explain_columns(columns)]
    lines += ["", "## Environment", ""]
    lines += [f"- {key}: {_flatten(value)}" for key, value in report.environment.items()]
    return "\n".join(lines) + "\n"


def _table_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _flatten(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)
