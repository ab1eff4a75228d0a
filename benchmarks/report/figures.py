"""The columns of a report: each figure's heading and how it is written for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edgevision.benchmarks.rows import BenchmarkRow
from edgevision.specs import ModelFormat
from edgevision.units import NOTHING, format_bytes, format_count, format_percent


def _write_latency(row: BenchmarkRow, percent: float) -> str:
    return f"{row.latency.percentile(percent):.2f} ms" if row.latency else NOTHING


def _write_uncertainty(row: BenchmarkRow) -> str:
    """Write half the confidence interval of the median as a share of it."""
    if row.latency is None:
        return NOTHING
    interval = row.latency.interval
    return format_percent((interval.high - interval.low) / (interval.high + interval.low))


def _write_ratio(row: BenchmarkRow) -> str:
    return f"{row.ratio.value:.2f}" if row.ratio else NOTHING


def _write_step(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms"


def _write_delegated(row: BenchmarkRow) -> str:
    if row.probe is None:
        return NOTHING
    placement = row.probe.placement
    if not placement.total_ops or row.profile.format is ModelFormat.ONNX:
        return NOTHING  # ONNX Runtime's own kernels are no delegate
    return f"{placement.delegated_ops}/{placement.total_ops} in {placement.partitions}"


def _write_precision(row: BenchmarkRow) -> str:
    return row.adapter.precision if row.adapter else NOTHING


def _write_share(row: BenchmarkRow, figure: str) -> str:
    """Write a figure that only the models of one task have."""
    return format_percent(row.accuracy[figure]) if figure in row.accuracy else NOTHING


COLUMNS: tuple[tuple[str, Callable[[BenchmarkRow], str]], ...] = (
    ("file", lambda row: Path(row.file).name),
    ("device", lambda row: f"{row.device} (software)" if row.software else str(row.device)),
    ("threads", lambda row: str(row.threads)),
    ("p50", lambda row: _write_latency(row, 50)),
    ("p90", lambda row: _write_latency(row, 90)),
    ("p99", lambda row: _write_latency(row, 99)),
    ("±", _write_uncertainty),
    ("× first", _write_ratio),
    ("before", lambda row: _write_step(row.steps.preprocess) if row.steps else NOTHING),
    ("after", lambda row: _write_step(row.steps.postprocess) if row.steps else NOTHING),
    ("top-1", lambda row: _write_share(row, "top1")),
    ("mAP", lambda row: _write_share(row, "map")),
    ("mAP50", lambda row: _write_share(row, "map50")),
    ("mIoU", lambda row: _write_share(row, "mean_iou")),
    ("MACs", lambda row: format_count(row.profile.macs)),
    ("params", lambda row: format_count(row.profile.params)),
    ("file size", lambda row: format_bytes(row.profile.file_bytes)),
    ("activations", lambda row: format_bytes(row.profile.peak_activation_bytes)),
    ("memory", lambda row: format_bytes(row.probe.peak_memory_bytes if row.probe else None)),
    ("delegated ops", _write_delegated),
    ("precision", _write_precision),
)


# What a terminal has no room for; the reports have it.
_DETAILS = frozenset({"p99", "before", "after"})


def choose_columns(rows: Sequence[BenchmarkRow], *, brief: bool = False) -> dict[str, list[str]]:
    """Return the cells of each column that has a figure for at least one row.

    Args:
        rows: The rows of the report.
        brief: Leave out details, for a terminal.
    """
    shown = [column for column in COLUMNS if not brief or column[0] not in _DETAILS]
    table = {heading: [write(row) for row in rows] for heading, write in shown}
    return {h: cells for h, cells in table.items() if any(cell != NOTHING for cell in cells)}


def explain_columns(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return what the headings of a table mean, as pairs of heading and meaning."""
    shown = set(columns)
    return [(names, text) for names, text in LEGEND if shown & set(names.split(", "))]


LEGEND = (
    ("p50, p90, p99", "percentiles of one inference, without image preprocessing"),
    ("±", "half the 95 % confidence interval of the median, as a share of it"),
    ("× first", "time as a multiple of the first row's, compared turn by turn"),
    ("before, after", "resizing and scaling of a 640 x 480 photo; from raw outputs to the answer"),
    ("mAP", "mean average precision of boxes over the overlaps 0.5 to 0.95, as COCO defines it"),
    ("mIoU", "intersection over union of true and predicted pixels, mean of the classes"),
    ("MACs", "multiply-accumulates of convolutions and matrix products"),
    ("activations", "arena of activations as TFLite Micro plans it"),
    ("memory", "growth of the process from opening the model to its first answer"),
    (
        "delegated ops",
        "operations that a delegate such as XNNPACK took, and in how many partitions",
    ),
    (
        "precision",
        "in what a GPU computed; gpu (software) is a program on the CPU that imitates one: its "
        "latency says nothing and is not plotted",
    ),
)
