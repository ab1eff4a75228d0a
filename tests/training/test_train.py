from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevision.errors import EdgeVisionError, InvalidConfigError, OutputError
from edgevision.graph.contracts import read_contract
from edgevision.training.events import Phase, TrainingEvent
from edgevision.training.results import TrainingResult
from edgevision.training.runs import RunStatus
from edgevision.training.train import train

pytest.importorskip("tensorflow")

# Keras reads its own variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OPTIONS: dict[str, Any] = {
    "alpha": 0.25,
    "input_size": 32,
    "batch_size": 8,
    "epochs": 3,
    "fine_tune_learning_rate": 0.01,
    "val_fraction": 0.25,
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy colours of two kinds: easily told apart."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, color in (("blue", (40, 60, 220)), ("red", (220, 60, 40))):
        (folder / name).mkdir()
        for index in range(16):
            noise = rng.integers(-30, 30, (32, 32, 3))
            pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def whole_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    output = tmp_path_factory.mktemp("runs") / "whole"
    return train("mobilenet_v1", data=photos, output=output, **OPTIONS)


def read_history(result: TrainingResult) -> list[list[str]]:
    lines = (result.run_dir / "history.csv").read_text().splitlines()
    # The last two columns are times.
    return [line.split(",")[:-2] for line in lines]


def test_the_run_folder_is_complete(whole_run: TrainingResult) -> None:
    names = {p.name for p in whole_run.run_dir.iterdir()}
    wanted = {"run.json", "history.csv", "model.keras", "labels.txt", "checkpoints"}
    assert wanted <= names
    assert whole_run.status is RunStatus.FINISHED
    assert whole_run.epochs == OPTIONS["epochs"]
    assert len(read_history(whole_run)) == 1 + OPTIONS["epochs"]
    record = json.loads((whole_run.run_dir / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["result"]["metrics"] == whole_run.to_dict()["metrics"]


def test_the_model_answers_in_probabilities_under_its_contract(
    whole_run: TrainingResult,
) -> None:
    import keras

    model = keras.models.load_model(whole_run.model_path)
    scores = model(np.zeros((2, 32, 32, 3), np.float32)).numpy()
    assert scores.dtype == np.float32
    assert scores.sum(1) == pytest.approx(np.ones(2), abs=1e-5)
    contract = read_contract(whole_run.model_path)
    assert contract is not None
    assert contract.labels == whole_run.labels == ("blue", "red")
    assert contract.preprocessing.mean == (127.5,)


def test_a_killed_run_resumes_to_the_same_result(
    photos: Path, whole_run: TrainingResult, tmp_path: Path
) -> None:
    code = (
        "import json, os, signal, sys\n"
        "from edgevision.training.train import train\n"
        "def stop(event):\n"
        "    if event.phase == 'train network' and event.epoch == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "train('mobilenet_v1', data=sys.argv[1], output=sys.argv[2], on_event=stop,"
        " **json.loads(sys.argv[3]))\n"
    )
    output = tmp_path / "killed"
    command = [sys.executable, "-c", code, str(photos), str(output), json.dumps(OPTIONS)]
    process = subprocess.run(command, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert json.loads((output / "run.json").read_text())["status"] == "running"
    with pytest.raises(InvalidConfigError, match="seed 0 → 5"):
        train("mobilenet_v1", data=photos, output=output, resume=True, **OPTIONS | {"seed": 5})
    result = train("mobilenet_v1", data=photos, output=output, resume=True, **OPTIONS)
    assert result.resumed_from == "train network, epoch 2"
    ours, wanted = read_history(result), read_history(whole_run)
    assert [row[:3] for row in ours] == [row[:3] for row in wanted]
    assert np.array(ours[3][3:], float) == pytest.approx(np.array(wanted[3][3:], float), abs=1e-2)
    assert result.metrics == pytest.approx(dict(whole_run.metrics), abs=1e-2)


def test_a_finished_run_is_refused_or_returned(photos: Path, whole_run: TrainingResult) -> None:
    with pytest.raises(OutputError, match="finished"):
        train("mobilenet_v1", data=photos, output=whole_run.run_dir, **OPTIONS)
    again = train("mobilenet_v1", data=photos, output=whole_run.run_dir, resume=True, **OPTIONS)
    assert again.metrics == whole_run.metrics


def test_trained_weights_get_a_new_head_first_and_ctrl_c_keeps_the_best(
    photos: Path, whole_run: TrainingResult, tmp_path: Path
) -> None:
    phases: list[Phase] = []

    def stop(event: TrainingEvent) -> None:
        phases.append(event.phase)
        if event.phase is Phase.FINE_TUNE and event.epoch == 2:
            raise KeyboardInterrupt

    output = tmp_path / "fine"
    options = OPTIONS | {"weights": str(whole_run.model_path), "head_epochs": 2, "mixup": 0.2}
    result = train(
        "mobilenet_v1", data=photos, output=output, on_event=stop, class_weights=True, **options
    )
    assert list(dict.fromkeys(phases)) == list(Phase)
    assert result.interrupted
    assert (result.head_epochs, result.epochs) == (2, 1)
    assert json.loads((output / "run.json").read_text())["status"] == "interrupted"
    assert read_contract(result.model_path) is not None


def test_ctrl_c_in_the_head_phase_joins_head_and_backbone(
    photos: Path, whole_run: TrainingResult, tmp_path: Path
) -> None:
    import keras

    def stop(event: TrainingEvent) -> None:
        if event.phase is Phase.HEAD and event.epoch == 2:
            raise KeyboardInterrupt

    options = OPTIONS | {"weights": str(whole_run.model_path), "head_epochs": 3}
    result = train("mobilenet_v1", data=photos, output=tmp_path / "r", on_event=stop, **options)
    one = keras.models.load_model(result.model_path)
    two = keras.models.load_model(whole_run.model_path)
    assert result.best_phase == Phase.HEAD
    assert np.array_equal(one.get_weights()[0], two.get_weights()[0])


def test_a_full_disk_ends_the_run_and_keeps_the_history(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgevision.training import checkpoints

    write = checkpoints._write_arrays

    def fill(path: Path, arrays: Any, state: str) -> None:
        if json.loads(state)["epoch"] == 2:
            raise OutputError("the output can not be written", received="No space left")
        write(path, arrays, state)

    monkeypatch.setattr(checkpoints, "_write_arrays", fill)
    output = tmp_path / "full"
    with pytest.raises(OutputError, match="No space"):
        train("mobilenet_v1", data=photos, output=output, **OPTIONS)
    assert json.loads((output / "run.json").read_text())["status"] == "failed"
    assert len((output / "history.csv").read_text().splitlines()) == 1 + 1


@pytest.mark.parametrize("stage", ["decoding", "weights"])
def test_a_run_that_learned_nothing_leaves_nothing(
    photos: Path, tmp_path: Path, stage: str
) -> None:
    data, output = tmp_path / "data", tmp_path / "run"
    shutil.copytree(photos, data)
    broken = data / "red" / "broken.png"
    weights = tmp_path / "weights.h5"
    weights.write_text("no weights")
    if stage == "decoding":
        broken.write_text("no image")
    options = OPTIONS | ({"weights": str(weights)} if stage == "weights" else {})
    with pytest.raises(EdgeVisionError, match="image" if stage == "decoding" else "weights"):
        train("mobilenet_v1", data=data, output=output, **options)
    assert not output.exists()


def test_ctrl_c_before_the_first_epoch_leaves_nothing(photos: Path, tmp_path: Path) -> None:
    def stop(event: TrainingEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("mobilenet_v1", data=photos, output=tmp_path / "run", on_event=stop, **OPTIONS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "run", "red/run"])
def test_a_run_may_not_become_part_of_its_data(photos: Path, place: str) -> None:
    with pytest.raises(OutputError, match="among the training images"):
        train("mobilenet_v1", data=photos, output=photos / place, **OPTIONS)
    assert sorted(path.name for path in photos.iterdir()) == ["blue", "red"]


def test_bad_options_cost_nothing(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError, match="mobilenet_v9"):
        train("mobilenet_v9", data=photos, output=tmp_path / "r")
    with pytest.raises(InvalidConfigError, match="epochs=0"):
        train("mobilenet_v1", data=photos, output=tmp_path / "r", epochs=0)
    assert not list(tmp_path.iterdir())
