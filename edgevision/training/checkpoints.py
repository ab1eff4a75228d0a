"""The state of a run in one file, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.errors import InvalidModelError
from edgevision.outputs import atomic_path
from edgevision.training.events import Phase

Arrays = dict[str, list[NDArray[Any]]]

WORST_SCORE = (-1.0, 0.0)
_FORMAT = 1
_STATE = "state"


@dataclass(slots=True, kw_only=True)
class RunState:
    """How far a run is. The one mutable value of a run: it grows with each epoch.

    Attributes:
        phase: ``HEAD`` or ``FINE_TUNE``.
        metric: The figure whose validation value makes an epoch the best, such as ``accuracy``.
        epoch: Finished epochs of the phase.
        best_score: (validation metric, minus validation loss) of the best epoch of all phases.
        best_row: Position of that epoch in ``history``.
        phase_score: The same of the best epoch of this phase, for early stopping.
        stale_epochs: Epochs since that one.
        history: One row of figures per finished epoch, all phases.
    """

    phase: Phase
    metric: str = "accuracy"
    epoch: int = 0
    best_score: tuple[float, float] = WORST_SCORE
    best_row: int = -1
    phase_score: tuple[float, float] = WORST_SCORE
    stale_epochs: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def record(self, row: dict[str, Any]) -> bool:
        """Count a finished epoch; returns whether it is the best so far."""
        score = (row[f"val_{self.metric}"], -row["val_loss"])
        self.epoch += 1
        self.history.append(row)
        self.stale_epochs += 1
        if score > self.phase_score:
            self.phase_score, self.stale_epochs = score, 0
        if score <= self.best_score:
            return False
        self.best_score, self.best_row = score, len(self.history) - 1
        return True

    def enter(self, phase: Phase) -> None:
        """Begin another phase; the best epoch so far stays the one to beat."""
        self.phase, self.epoch, self.stale_epochs = phase, 0, 0
        self.phase_score = WORST_SCORE

    def to_json(self) -> str:
        """Return the state as text; floats round-trip exactly."""
        return json.dumps({"format": _FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> RunState:
        """Restore what ``to_json`` wrote."""
        values = json.loads(text)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format of checkpoint")
        scores = {name: tuple(values[name]) for name in ("best_score", "phase_score")}
        return cls(**values | scores | {"phase": Phase(values["phase"])})


class Checkpoints:
    """The ``checkpoints`` folder of a run: ``last.npz``, and the weights of the best epoch.

    Every file is written under another name and renamed; ``last.npz`` names the best epoch that
    it belongs to, so that a kill between the two leaves a pair that fits.

    Args:
        folder: Existing or not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def last_path(self) -> Path:
        """The file that a run is resumed from."""
        return self.folder / "last.npz"

    def best_path(self, state: RunState) -> Path:
        """The weights of the best epoch so far, as the learner of the phase holds them."""
        return self.folder / f"best-{state.phase.name.lower()}-{state.best_row:04d}.npz"

    def save(self, state: RunState, arrays: Arrays) -> None:
        """Write the state after an epoch.

        Raises:
            OutputError: No space or no permission; the previous checkpoint is untouched.
        """
        _write_arrays(self.last_path, arrays, state.to_json())
        for path in self.folder.glob("best-*.npz"):
            if path != self.best_path(state):
                path.unlink(missing_ok=True)

    def save_best(self, state: RunState, weights: list[NDArray[Any]]) -> None:
        """Write the weights of the epoch that ``state`` calls best; before ``save``.

        Raises:
            OutputError: No space or no permission.
        """
        _write_arrays(self.best_path(state), {"weights": weights}, state.to_json())

    def load(self) -> tuple[RunState, Arrays]:
        """Read the state of the last finished epoch.

        Raises:
            InvalidModelError: The file is damaged or of another version.
        """
        return _read_arrays(self.last_path)

    def load_best(self, state: RunState) -> list[NDArray[Any]]:
        """Read the weights of the best epoch.

        Raises:
            InvalidModelError: The file is damaged or of another version.
        """
        return _read_arrays(self.best_path(state))[1]["weights"]

    def exists(self) -> bool:
        """Whether there is something to resume from."""
        return self.last_path.is_file()

    def is_empty(self) -> bool:
        """Whether nothing was finished that a resumed run could use."""
        return not any(self.folder.glob("[!.]*"))

    def remove_leftovers(self) -> None:
        """Remove the half-written files of a killed run."""
        for path in self.folder.glob(".*"):
            path.unlink(missing_ok=True)


def _write_arrays(path: Path, arrays: Arrays, state: str) -> None:
    flat: dict[str, Any] = {_STATE: np.array(state)}
    for name, values in arrays.items():
        flat |= {f"{name}/{index:05d}": value for index, value in enumerate(values)}
    with atomic_path(path) as temporary:
        np.savez(temporary, **flat)


def _read_arrays(path: Path) -> tuple[RunState, Arrays]:
    try:
        # Opened here: NumPy leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            state = RunState.from_json(str(file[_STATE]))
            arrays: Arrays = {}
            for name in sorted(n for n in file.files if n != _STATE):
                arrays.setdefault(name.partition("/")[0], []).append(file[name])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidModelError(
            "the checkpoint can not be read",
            received=f"{path}: {error}",
            remedy="train into another folder",
        ) from error
    return state, arrays
