"""Reports as JSON, Markdown and one self-contained HTML page."""

from edgevision.benchmarks.report.writer import write_report

__all__ = ["write_report"]
