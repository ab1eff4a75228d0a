from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgevision.errors import InvalidConfigError, InvalidModelError, OutputError
from edgevision.training.checkpoints import RunState
from edgevision.training.config import TrainingConfig
from edgevision.training.events import Phase
from edgevision.training.locks import lock_folder
from edgevision.training.runs import (
    RunFolder,
    RunStatus,
    check_repeats,
    open_run,
)

CONFIG = TrainingConfig(name="mobilenet_v1")


def describe_data(images: int = 3) -> dict[str, Any]:
    part = {"images": images, "classes": {"a": 1, "b": 2}, "files_sha256": "0", "skipped": []}
    return {"labels": ["a", "b"], "train": part, "val": dict(part)}


def begin(folder: Path) -> None:
    with open_run(folder, resume=False) as run:
        run.begin(CONFIG, describe_data())
        run.checkpoints.save(RunState(phase=Phase.FINE_TUNE), {})


def test_the_record_repeats_the_run(tmp_path: Path) -> None:
    begin(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert TrainingConfig.from_dict(record["config"]) == CONFIG
    assert record["data"] == describe_data()
    assert record["status"] == "running"
    assert {"edgevision", "numpy", "python"} <= set(record["versions"])
    assert (tmp_path / "run" / "labels.txt").read_text() == "a\nb\n"


def test_a_second_run_is_refused_while_the_first_holds_the_folder(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", resume=False),
        pytest.raises(OutputError, match="another training run"),
        open_run(tmp_path / "run", resume=True),
    ):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from edgevision.training.locks import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another"), lock_folder(tmp_path):
            pass
        os.kill(process.pid, signal.SIGKILL)
    with lock_folder(tmp_path):
        pass


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(RunStatus.FINISHED, "another folder"), (RunStatus.INTERRUPTED, "--resume")],
)
def test_a_folder_with_a_run_is_taken(tmp_path: Path, status: RunStatus, remedy: str) -> None:
    begin(tmp_path)
    with open_run(tmp_path, resume=True) as run:
        run.conclude(status)
    with pytest.raises(OutputError, match=remedy), open_run(tmp_path, resume=False):
        pass


def test_a_killed_run_without_an_epoch_does_not_hold_its_folder(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "checkpoints" / "last.npz").unlink()
    with open_run(tmp_path, resume=False) as run:
        assert run.record == {}
        run.begin(CONFIG, describe_data())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["labels.txt", "model.keras", "history.csv", "curves.png"])
def test_files_of_somebody_else_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="would replace"), open_run(tmp_path, resume=True):
        pass
    assert (tmp_path / name).read_text() == "mine"


def test_nothing_is_left_of_a_run_that_never_began(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_run(tmp_path / "new", resume=False):
        raise KeyError
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError), open_run(tmp_path / "file", resume=False):
        pass


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InvalidModelError, match=r"run\.json"), open_run(tmp_path, resume=True):
        pass


def test_resuming_differently_names_what_differs(tmp_path: Path) -> None:
    begin(tmp_path)
    other = TrainingConfig(name="mobilenet_v1", epochs=7)
    with open_run(tmp_path, resume=True) as run:
        check_repeats(run, CONFIG, describe_data())
        with pytest.raises(InvalidConfigError, match=r"epochs 20 → 7.*train images 3 → 4"):
            check_repeats(run, other, describe_data(4))


def test_history_has_one_line_per_epoch(tmp_path: Path) -> None:
    row = {"phase": "train head", "epoch": 1, "loss": 1 / 3}
    run = RunFolder(tmp_path)
    run.write_history([row, row | {"val_map50": 0.5}])
    with run.history_path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["phase"] for line in lines] == ["train head"] * 2
    assert tuple(lines[0]) == ("phase", "epoch", "loss", "val_map50")
    assert [(line["loss"], line["val_map50"]) for line in lines] == [
        ("0.333333", ""),
        ("0.333333", "0.5"),
    ]
