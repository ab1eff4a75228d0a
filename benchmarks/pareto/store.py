"""The folder of a sweep: every finished point is kept, so that a killed sweep goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgevision.benchmarks.pareto.sweep import GridPoint
from edgevision.benchmarks.pareto.work import OK
from edgevision.errors import InvalidConfigError, OutputError
from edgevision.outputs import check_writable, write_text
from edgevision.training.locks import lock_folder

SETTINGS, POINT = "sweep.json", "point.json"


class SweepFolder:
    """Reads and writes the files of a sweep.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def get_folder(self, point: GridPoint) -> Path:
        """Return where the files of a point lie."""
        return self.path / "points" / point.key

    def read_finished(self, point: GridPoint) -> dict[str, Any] | None:
        """Return what is known of a point; ``None`` where it has yet to be made, or failed."""
        try:
            record = json.loads((self.get_folder(point) / POINT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        finished = isinstance(record, dict) and record.get("status") == OK
        return record if finished else None

    def write_point(self, point: GridPoint, record: Mapping[str, Any]) -> None:
        """Keep what became of a point.

        Raises:
            OutputError: The folder can not be written.
        """
        write_text(self.get_folder(point) / POINT, json.dumps(record, indent=2))


@contextmanager
def open_sweep(path: str | Path, settings: Mapping[str, Any]) -> Iterator[SweepFolder]:
    """Open a folder for a sweep: a new one, or one with the same settings.

    Args:
        path: The folder; created where missing.
        settings: What all points depend on.

    Raises:
        OutputError: The folder holds something else, is used by another sweep, or can not be
            written.
        InvalidConfigError: The folder holds a sweep with other settings.
    """
    base = Path(path)
    check_writable(base / SETTINGS)
    known = _read_settings(base)
    if known is None:
        if base.is_dir() and any(base.iterdir()):
            raise OutputError(
                "the folder is not empty and holds no sweep",
                received=base,
                remedy="choose another with --output",
            )
        write_text(base / SETTINGS, json.dumps(settings, indent=2))
    elif changed := [key for key in settings if known.get(key) != settings[key]]:
        raise InvalidConfigError(
            "the folder holds a sweep with other settings",
            received=_tell_change(changed, known, settings),
            remedy="give the same again, or another --output",
        )
    with lock_folder(base):
        yield SweepFolder(base)


def _read_settings(base: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((base / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _tell_change(keys: list[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Name what changed; hashes of file lists tell a person nothing."""
    texts = []
    for key in keys:
        old, new = before.get(key), after[key]
        if key == "images":
            texts.append("other images")
        elif isinstance(old, dict):
            texts += [
                f"{k} was {old.get(k, 'the default')}, is {new.get(k, 'the default')}"
                for k in sorted({*old, *new})
                if old.get(k) != new.get(k)
            ]
        else:
            texts.append(f"{key} was {old}, is {new}")
    return "; ".join(texts)
