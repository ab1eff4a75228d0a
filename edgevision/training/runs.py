"""The folder of one training run, and the files that make it repeatable."""

from __future__ import annotations

import csv
import io
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from edgevision.errors import InvalidConfigError, InvalidModelError, OutputError
from edgevision.outputs import check_writable, write_text
from edgevision.training.checkpoints import Checkpoints
from edgevision.training.config import TrainingConfig
from edgevision.training.locks import lock_folder

_PACKAGES = ("edgevision", "tensorflow", "keras", "numpy", "pillow")


class RunStatus(StrEnum):
    """How a run stands, as ``run.json`` tells it; a killed run stays ``running``."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


class RunFolder:
    """Names and writes the files of a run; open it with ``open_run``.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.record: dict[str, Any] = {}

    @property
    def record_path(self) -> Path:
        """Everything needed to repeat the run."""
        return self.path / "run.json"

    @property
    def history_path(self) -> Path:
        """One line of figures per epoch."""
        return self.path / "history.csv"

    @property
    def curves_path(self) -> Path:
        """The same as a picture."""
        return self.path / "curves.png"

    @property
    def model_path(self) -> Path:
        """The best model, its contract inside."""
        return self.path / "model.keras"

    @property
    def labels_path(self) -> Path:
        """One class name per line."""
        return self.path / "labels.txt"

    def read_record(self) -> dict[str, Any] | None:
        """Read ``run.json``; ``None`` where there is none.

        Raises:
            InvalidModelError: It is damaged.
        """
        if not self.record_path.is_file():
            return None
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
            return {**record, "status": RunStatus(record["status"])}
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidModelError(
                "run.json is damaged",
                received=f"{self.record_path}: {error}",
                remedy="train into another folder",
            ) from error

    def begin(self, config: TrainingConfig, data: Mapping[str, Any]) -> None:
        """Write what the run is made of.

        Raises:
            OutputError: No space or no permission.
        """
        started = self.record.get("started") or _now()
        self.record = {
            "status": RunStatus.RUNNING,
            "started": started,
            "updated": _now(),
            "config": config.to_dict(),
            "data": dict(data),
            "command": sys.argv,
            "versions": _list_versions(),
            "platform": platform.platform(),
        }
        self._write_record()
        write_text(self.labels_path, "".join(f"{label}\n" for label in data["labels"]))

    def conclude(self, status: RunStatus, **results: Any) -> None:
        """Write how the run ended.

        Raises:
            OutputError: No space or no permission.
        """
        self.record |= {"status": status, "updated": _now(), **results}
        self._write_record()

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace ``history.csv``: a column for every figure of an epoch, a line for every epoch.

        Raises:
            OutputError: No space or no permission; the old file is untouched.
        """
        text = io.StringIO()
        columns = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _round(value) for name, value in row.items()} for row in rows)
        write_text(self.history_path, text.getvalue())

    def discard_unless_useful(self) -> None:
        """Remove the records of a run that was stopped before it had anything to resume from."""
        finished = self.record.get("status") is RunStatus.FINISHED
        if not self.record or finished or not self.checkpoints.is_empty():
            return
        self.record = {}
        # A disk that refuses this refused the run as well, which is what the caller is told.
        with suppress(OSError):
            self.record_path.unlink(missing_ok=True)
            self.labels_path.unlink(missing_ok=True)
            self.checkpoints.folder.rmdir()

    def list_files(self) -> tuple[Path, ...]:
        """List what a run writes, and exists."""
        paths = (self.history_path, self.curves_path, self.model_path, self.labels_path)
        return tuple(path for path in paths if path.exists())

    def _write_record(self) -> None:
        write_text(self.record_path, json.dumps(self.record, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def open_run(path: str | Path, *, resume: bool) -> Iterator[RunFolder]:
    """Create or open a run folder and hold it against other processes.

    A folder that was created here and holds nothing in the end is removed again, and so are the
    records of a run that ended before there was anything to resume from.

    Args:
        path: The folder.
        resume: Whether it may hold a run that was begun earlier.

    Raises:
        OutputError: Another run holds the folder, it holds a run and ``resume`` is off or files
            that a run would replace, or it can not be written.
    """
    folder = Path(path)
    check_writable(folder / "run.json")
    created = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            "the run folder can not be created",
            received=f"{folder}: {error.strerror}",
            remedy="choose another folder",
        ) from error
    try:
        with lock_folder(folder):
            run = RunFolder(folder)
            run.record = run.read_record() or {}
            run.checkpoints.remove_leftovers()
            run.discard_unless_useful()
            _check_vacant(run, resume)
            try:
                yield run
            finally:
                run.discard_unless_useful()
    finally:
        if created:
            # Fails, as it should, when anything was written.
            with suppress(OSError):
                folder.rmdir()


def check_repeats(run: RunFolder, config: TrainingConfig, data: Mapping[str, Any]) -> None:
    """Check that a run is resumed with the options and the data that it was begun with.

    Raises:
        InvalidConfigError: They differ; the message names how.
    """
    changes = list(TrainingConfig.from_dict(run.record["config"]).differences(config))
    changes += _compare_data(run.record["data"], data)
    if changes:
        raise InvalidConfigError(
            "a run is resumed with the options and data that it was begun with",
            received="; ".join(changes),
            remedy="repeat them, or train into another folder",
        )


def _compare_data(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    changes = []
    if old["labels"] != new["labels"]:
        changes.append(f"labels {', '.join(old['labels'])} → {', '.join(new['labels'])}")
    for part in ("train", "val"):
        if old[part]["images"] != new[part]["images"]:
            changes.append(f"{part} images {old[part]['images']} → {new[part]['images']}")
        elif old[part]["files_sha256"] != new[part]["files_sha256"]:
            changes.append(f"{part} images: other files")
    return changes


def check_outside(output: str | Path, *folders: str | Path) -> None:
    """Check that a run does not become part of the images that it learns from.

    Raises:
        OutputError: ``output`` is one of ``folders``, or below it.
    """
    place = Path(output).resolve()
    for folder in folders:
        if place.is_relative_to(Path(folder).resolve()):
            raise OutputError(
                "the run folder is among the training images",
                received=f"{output} in {folder}",
                remedy="choose a folder beside them",
            )


def _check_vacant(run: RunFolder, resume: bool) -> None:
    if not run.record and (files := run.list_files()):
        raise OutputError(
            "the folder holds files that a run would replace",
            received=", ".join(str(path) for path in files),
            remedy="choose another folder",
        )
    if resume or not run.record:
        return
    finished = run.record["status"] is RunStatus.FINISHED
    raise OutputError(
        f"the folder holds {'a finished' if finished else 'an unfinished'} training run",
        received=run.path,
        remedy="choose another folder"
        if finished
        else "go on with it (--resume), or choose another folder",
    )


def _round(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _list_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions
