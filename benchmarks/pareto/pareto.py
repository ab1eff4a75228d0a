"""``pareto``: which network of a grid is worth its cost, measured on the user's own data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevision.backends import import_backend
from edgevision.benchmarks.benchmark import benchmark
from edgevision.benchmarks.pareto.cluster import run_on_cluster
from edgevision.benchmarks.pareto.front import find_front
from edgevision.benchmarks.pareto.pool import run_local
from edgevision.benchmarks.pareto.store import SweepFolder, open_sweep
from edgevision.benchmarks.pareto.sweep import (
    SCORES,
    GridPoint,
    SweepSettings,
    find_val_folders,
    plan_grid,
)
from edgevision.benchmarks.pareto.work import INT8, OK, PointWork
from edgevision.errors import InvalidConfigError
from edgevision.models.registry import InputSize, get_spec
from edgevision.specs import Progress, Task
from edgevision.training.config import plan_training
from edgevision.training.dataset import DataOptions, read_training_data
from edgevision.training.runs import check_outside

COSTS = {"latency": "latency", "macs": "MACs", "bytes": "file size"}
"""What accuracy is weighed against: key of a row's ``front``, and how it is called."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoReport:
    """What a sweep found.

    Attributes:
        rows: One per point: what ``run_point`` recorded, with ``file``, ``score``,
            ``latency_ms`` (null where it could not be measured) and ``front`` (keys of ``COSTS``
            for which nothing else is as cheap and at least as good).
        metric: The figure of ``evaluate`` that ``score`` is.
        data: Where it was measured.
        environment: Machine, software and load of the latency; empty where nothing was timed.
        warnings: What makes the latencies less reliable.
    """

    rows: tuple[dict[str, Any], ...]
    metric: str
    data: str
    environment: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "rows": list(self.rows),
            "metric": self.metric,
            "data": self.data,
            "environment": self.environment,
            "warnings": list(self.warnings),
        }


def pareto(
    families: Sequence[str],
    *,
    alphas: Sequence[float],
    input_sizes: Sequence[InputSize],
    data: str | Path,
    output: str | Path,
    val_data: str | Path | None = None,
    weights: str | Path | None = None,
    seed: int = 0,
    training: Mapping[str, int] | None = None,
    skip_broken: bool = False,
    jobs: int = 1,
    ray: str | None = None,
    threads: int = 1,
    seconds: float = 2.0,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> ParetoReport:
    """Train, convert, quantize and measure every network of a grid.

    Every finished point is kept in ``output``: the same call goes on after a kill, a larger grid
    adds points, and points that failed are tried again. Other settings are refused. Latency is
    measured at the end, of all points in turns, while nothing else runs.

    Args:
        families: Names of the zoo, or of families.
        alphas: Widths.
        input_sizes: Sides, or ``(height, width)``.
        data: Images to learn from; a classifier's may hold the folders ``train`` and ``val``.
        output: The folder of the sweep.
        val_data: Images to judge by, where ``data`` has no part for it.
        weights: ``"imagenet"``, or a file, as ``train`` takes it.
        seed: Of every training.
        training: Further options of ``train``: ``epochs``, ``head_epochs``, ``batch_size``.
        skip_broken: Leave out images that can not be read.
        jobs: Points at the same time on this machine.
        ray: Address of a Ray cluster that makes the points instead.
        threads: Of the interpreter, for the latency.
        seconds: Timed seconds per point.
        progress: Called with stage, done and total.
        tell: Called with a line for each point that ended.

    Raises:
        InvalidConfigError: An impossible grid or option, or the folder holds other settings.
        DataError: The images do not fit the task.
        MissingFileError: A folder does not exist.
        OutputError: The folder can not be written or holds something else.
        BackendUnavailableError: An extra is missing.
    """
    if jobs < 1:
        raise InvalidConfigError("jobs must be at least 1", received=f"jobs={jobs}")
    if ray is not None:
        import_backend("ray")
    points = plan_grid(families, alphas, input_sizes)
    task = get_spec(points[0].name).task
    plan_training(task, points[0].name, {"seed": seed, "weights": weights, **(training or {})})
    train, val = find_val_folders(
        task, Path(data).absolute(), None if val_data is None else Path(val_data).absolute()
    )
    options = DataOptions(folder=train, val_folder=val, seed=seed, skip_broken=skip_broken)
    images = read_training_data(task, options).describe()
    settings = SweepSettings(
        data=str(train),
        val_data="" if val is None else str(val),
        weights=_locate_weights(weights),
        seed=seed,
        skip_broken=skip_broken,
        training=dict(training or {}),
    )
    check_outside(output, settings.data, *filter(None, (settings.val_data,)))
    with open_sweep(output, settings.to_dict() | {"images": images}) as folder:
        records = _make_points(
            folder, points, settings, jobs=jobs, ray=ray, progress=progress, tell=tell
        )
        timed = [i for i, record in enumerate(records) if record["status"] == OK]
        files = [folder.get_folder(points[i]) / INT8 for i in timed]
        latencies, about = _time(files, threads, seconds, progress)
        rows = _make_rows(folder, points, records, dict(zip(timed, latencies, strict=True)), task)
    return ParetoReport(
        rows=rows,
        metric=SCORES[task],
        data=settings.val_data or settings.data,
        environment=about.get("environment", {}),
        warnings=tuple(about.get("warnings", ())),
    )


def _locate_weights(weights: str | Path | None) -> str:
    """Return what children are given: they run elsewhere, so that a file needs its whole path."""
    start = "none" if weights is None else str(weights)
    return str(Path(start).absolute()) if Path(start).is_file() else start


def _make_points(
    folder: SweepFolder,
    points: Sequence[GridPoint],
    settings: SweepSettings,
    *,
    jobs: int,
    ray: str | None,
    progress: Progress | None,
    tell: Tell | None,
) -> list[dict[str, Any]]:
    """Make the points that are not there yet; return the records of all."""
    records = {p.key: r for p in points if (r := folder.read_finished(p)) is not None}
    works = [
        PointWork(point=p, settings=settings, folder=folder.get_folder(p).absolute())
        for p in points
        if p.key not in records
    ]
    if tell and records:
        tell(f"{len(records)} of {len(points)} points are finished already")
    for work in works:
        work.folder.mkdir(parents=True, exist_ok=True)
    if works:
        ended = run_local(works, jobs=jobs) if ray is None else run_on_cluster(works, address=ray)
        for work, record in ended:
            folder.write_point(work.point, record)
            records[work.point.key] = record
            if progress:
                progress("training points", len(records), len(points))
            if tell:
                tell(_tell_point(work.point, record))
    return [records[point.key] for point in points]


def _tell_point(point: GridPoint, record: Mapping[str, Any]) -> str:
    if record["status"] == OK:
        score = next(record["accuracy"][f] for f in SCORES.values() if f in record["accuracy"])
        return f"{point.key}: {100 * score:.1f} %, {record['seconds']:.0f} s"
    return f"{point.key}: failed: {record['stage']}: {record['reason']}"


def _time(
    files: Sequence[Path], threads: int, seconds: float, progress: Progress | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measure all files in turns; return their rows, and what was measured on."""
    if not files:
        return [], {}
    report = benchmark(files, threads=(threads,), seconds=seconds, progress=progress).to_dict()
    return report["rows"], report


def _make_rows(
    folder: SweepFolder,
    points: Sequence[GridPoint],
    records: Sequence[Mapping[str, Any]],
    timed: Mapping[int, Mapping[str, Any]],
    task: Task,
) -> tuple[dict[str, Any], ...]:
    rows: list[dict[str, Any]] = []
    for index, (point, record) in enumerate(zip(points, records, strict=True)):
        row = {**record, "file": None, "score": None, "latency_ms": None, "front": []}
        if record["status"] == OK:
            row["file"] = str(folder.get_folder(point) / INT8)
            row["score"] = record["accuracy"][SCORES[task]]
            row["latency_ms"] = timed[index]["latency_ms"]
            row["reason"] = timed[index]["reason"]
        rows.append(row)
    for key in COSTS:
        for row, on_front in zip(rows, find_front([_get_pair(r, key) for r in rows]), strict=True):
            if on_front:
                row["front"].append(key)
    return tuple(rows)


def get_cost(row: Mapping[str, Any], key: str) -> float | None:
    """Return one cost of a row: median latency in ms, MACs, or bytes; ``None`` where unknown."""
    if row["score"] is None:
        return None
    if key == "latency":
        return row["latency_ms"]["p50"] if row["latency_ms"] else None
    cost: float = row["macs" if key == "macs" else "file_bytes"]
    return cost


def _get_pair(row: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    cost = get_cost(row, key)
    return None if cost is None else (cost, row["score"])
