"""The report as a table of comma-separated values, one line a row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from edgevision.benchmarks.rows import BenchmarkReport

# Lists of layers do not fit into a cell.
_LEFT_OUT = frozenset({"per_op", "left_behind"})
_LONGEST = 8


def render_csv(report: BenchmarkReport) -> str:
    """Return every single figure of the report's rows; nested keys are joined by dots."""
    rows = [_flatten(row.to_dict()) for row in report.rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in _LEFT_OUT:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{name}."))
        elif isinstance(value, list):
            short = len(value) <= _LONGEST
            scalars = short and not any(isinstance(item, list | Mapping) for item in value)
            flat.update({f"{name}.{i}": v for i, v in enumerate(value)} if scalars else {})
        else:
            flat[name] = value
    return flat
