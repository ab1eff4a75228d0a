"""``benchmark --compare``: what changed since an earlier report."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevision.benchmarks.report.charts import ACCURACIES
from edgevision.benchmarks.rows import BenchmarkReport
from edgevision.errors import InvalidConfigError, MissingFileError

# What must be equal for times to be comparable.
_MACHINE = ("processor", "machine", "cores", "system")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of one row, then and now.

    Attributes:
        file: Name of the model file, without its folder.
        device: Where it ran.
        threads: Interpreter threads.
        figure: Which figure: ``p50_ms``, ``file_bytes``, an accuracy …
        before: Its earlier value; ``None`` where there was none.
        after: Its value now; ``None`` where there is none.
        certain: Of a latency, whether the 95 % confidence intervals do not overlap; of anything
            else, whether the values differ.
    """

    file: str
    device: str
    threads: int
    figure: str
    before: float | None
    after: float | None
    certain: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed.

    Attributes:
        path: The earlier report.
        changes: All figures that both reports have, row by row.
        added: Rows that the earlier report lacks.
        gone: Rows that only the earlier report has.
        warnings: Why times can not be compared.
    """

    path: str
    changes: tuple[Change, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "path": self.path,
            "changes": [change.to_dict() for change in self.changes],
            "added": list(self.added),
            "gone": list(self.gone),
            "warnings": list(self.warnings),
        }


Row = Mapping[str, Any]
Key = tuple[str, str, int]


def read_report(path: str | Path) -> dict[str, Any]:
    """Read the ``report.json`` of an earlier benchmark.

    Raises:
        MissingFileError: There is no such file.
        InvalidConfigError: It is no report.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such report", received=path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["rows"]
        keys = [_find_key(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidConfigError(
            "not a report of `edgevision benchmark`",
            received=path,
            remedy="name the report.json that `edgevision benchmark -o DIR` wrote",
        ) from error
    if not keys:
        raise InvalidConfigError("the earlier report has no rows", received=path)
    found: dict[str, Any] = document
    return found


def compare_reports(old: Mapping[str, Any], report: BenchmarkReport, *, path: str) -> Comparison:
    """Compare a report with an earlier one, row by row.

    Rows belong together when name of the file, device and threads are the same.

    Args:
        old: As ``read_report`` returns it.
        report: What has just been measured.
        path: Where the earlier one lies.
    """
    new = report.to_dict()
    before = {_find_key(row): row for row in old["rows"]}
    after = {_find_key(row): row for row in new["rows"]}
    changes = [
        change
        for key, row in after.items()
        if key in before
        for change in _compare_rows(key, before[key], row)
    ]
    return Comparison(
        path=path,
        changes=tuple(changes),
        added=tuple(_write_key(key) for key in after if key not in before),
        gone=tuple(_write_key(key) for key in before if key not in after),
        warnings=tuple(_find_differences(old.get("environment", {}), report.environment)),
    )


def _find_key(row: Row) -> Key:
    return Path(row["file"]).name, str(row["device"]), int(row["threads"])


def _write_key(key: Key) -> str:
    return f"{key[0]} on {key[1]}, {key[2]} thread(s)"


def _read_latency(row: Row) -> float | None:
    latency = row.get("latency_ms")
    return latency.get("p50") if latency else None


def _read_accuracy(row: Row) -> float | None:
    accuracy = row.get("accuracy") or {}
    return next((accuracy[key] for key, _ in ACCURACIES if key in accuracy), None)


_FIGURES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("p50_ms", _read_latency),
    ("accuracy", _read_accuracy),
    ("file_bytes", lambda row: row.get("file_bytes")),
    ("peak_memory_bytes", lambda row: row.get("peak_memory_bytes")),
    ("macs", lambda row: row.get("macs")),
    ("delegated_ops", lambda row: row.get("delegated_ops")),
)


def _compare_rows(key: Key, before: Row, after: Row) -> list[Change]:
    found = []
    for figure, read in _FIGURES:
        old, new = read(before), read(after)
        if old is None and new is None:
            continue
        certain = old != new
        if figure == "p50_ms" and certain:
            certain = _are_apart(before.get("latency_ms"), after.get("latency_ms"))
        found.append(
            Change(
                file=key[0],
                device=key[1],
                threads=key[2],
                figure=figure,
                before=old,
                after=new,
                certain=certain,
            )
        )
    return found


def _are_apart(before: Row | None, after: Row | None) -> bool:
    """Whether two intervals do not overlap; a report without intervals proves nothing."""
    one, other = ((x or {}).get("ci95") for x in (before, after))
    return bool(one and other and (one[1] < other[0] or other[1] < one[0]))


def _find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    found = [
        f"another machine: {name} was {old[name]}, is {new[name]}"
        for name in _MACHINE
        if name in old and name in new and old[name] != new[name]
    ]
    packages = old.get("packages", {})
    found += [
        f"another version: {name} was {packages[name]}, is {version}"
        for name, version in new.get("packages", {}).items()
        if name in packages and packages[name] != version
    ]
    return found
