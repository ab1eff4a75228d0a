from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.errors import InvalidModelError, OutputError
from edgevision.training.checkpoints import Checkpoints, RunState
from edgevision.training.events import Phase


def make_row(accuracy: float, loss: float = 1.0) -> dict[str, Any]:
    return {"phase": "train head", "epoch": 1, "val_accuracy": accuracy, "val_loss": loss}


def test_state_and_arrays_return_exactly(tmp_path: Path) -> None:
    state = RunState(phase=Phase.FINE_TUNE)
    state.record(make_row(1 / 3, 0.1))
    arrays = {
        "weights": [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(0, np.float32)],
        "optimizer": [np.array(7, np.int64)],
    }
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(state, arrays)
    loaded, values = checkpoints.load()
    assert loaded == state
    for name, wanted in arrays.items():
        for one, two in zip(values[name], wanted, strict=True):
            assert one.dtype == two.dtype
            assert np.array_equal(one, two)


def test_more_than_ten_arrays_keep_their_order(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(RunState(phase=Phase.HEAD), {"weights": [np.array(i) for i in range(120)]})
    assert [int(v) for v in checkpoints.load()[1]["weights"]] == list(range(120))


def test_the_best_epoch_has_the_best_accuracy_then_the_least_loss() -> None:
    state = RunState(phase=Phase.HEAD)
    rows = [(0.5, 1.0), (0.7, 2.0), (0.7, 1.5), (0.6, 0.1)]
    assert [state.record(make_row(*row)) for row in rows] == [True, True, True, False]
    assert (state.best_row, state.stale_epochs, state.epoch) == (2, 1, 4)


def test_the_metric_of_the_task_decides() -> None:
    state = RunState(phase=Phase.FINE_TUNE, metric="map50")
    assert state.record({"val_map50": 0.4, "val_loss": 2.0, "val_accuracy": 0.1})
    assert state.best_score == (0.4, -2.0)


def test_another_phase_has_its_own_patience_and_the_same_best() -> None:
    state = RunState(phase=Phase.HEAD)
    state.record(make_row(0.9))
    state.enter(Phase.FINE_TUNE)
    assert not state.record(make_row(0.5))
    assert not state.record(make_row(0.6))
    assert (state.best_row, state.stale_epochs, state.epoch) == (0, 0, 2)


def test_older_best_weights_are_removed(tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path), RunState(phase=Phase.HEAD)
    for accuracy in (0.1, 0.2):
        state.record(make_row(accuracy))
        checkpoints.save_best(state, [np.array(accuracy)])
        checkpoints.save(state, {"weights": [np.array(accuracy)]})
    assert [p.name for p in tmp_path.glob("best-*")] == ["best-head-0001.npz"]
    assert float(checkpoints.load_best(state)[0]) == 0.2


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.last_path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(InvalidModelError, match=r"last\.npz"):
        checkpoints.load()


def test_a_full_disk_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, state = Checkpoints(tmp_path), RunState(phase=Phase.HEAD)
    checkpoints.save(state, {"weights": [np.array(1)]})

    def fail(path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OutputError, match="No space"):
        checkpoints.save(state, {"weights": [np.array(2)]})
    assert int(checkpoints.load()[1]["weights"][0]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.npz"]
