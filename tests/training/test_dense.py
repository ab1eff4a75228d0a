"""Detectors and segmenters, trained for a few steps on generated scenes."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevision.data.scenes import LABELS, write_dataset
from edgevision.errors import DataError, InvalidConfigError
from edgevision.graph.contracts import read_contract
from edgevision.models.registry import create_model
from edgevision.specs import Task
from edgevision.training.events import Phase, TrainingEvent
from edgevision.training.results import TrainingResult
from edgevision.training.runs import RunStatus
from edgevision.training.train import train

pytest.importorskip("tensorflow")

# Keras reads its own variables in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OPTIONS: dict[str, Any] = {
    "alpha": 0.25,
    "input_size": (64, 48),
    "batch_size": 4,
    "head_epochs": 1,
    "epochs": 2,
}
NETWORKS = {"ssd_mobilenet_v1": "map50", "unet_mobilenet_v1": "mean_iou"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data") / "scenes"
    return write_dataset(
        place, num_train=9, num_val=4, size=(64, 48), num_objects=2, masks=True, seed=1
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights for the backbone."""
    path = tmp_path_factory.mktemp("weights") / "classifier.keras"
    create_model("mobilenet_v1", alpha=0.25, input_size=64, num_classes=3).save(path)
    return path


@dataclass(frozen=True)
class Run:
    """A network trained to the end.

    Attributes:
        name: Of the network.
        options: That it was trained with.
        result: What came out.
        killed: Its folder as a kill in the last epoch would have left it.
    """

    name: str
    options: dict[str, Any]
    result: TrainingResult
    killed: Path


@pytest.fixture(scope="module", params=list(NETWORKS))
def run(
    request: pytest.FixtureRequest,
    scenes: Path,
    classifier: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Each task once: everything is traced anew for every training, which takes the time."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("runs")
    output, killed = folder / "whole", folder / "killed"

    def keep(event: TrainingEvent) -> None:
        if (event.phase, event.epoch) == (Phase.FINE_TUNE, 2) and not killed.exists():
            shutil.copytree(output, killed)

    options = {**OPTIONS, "data": scenes, "weights": classifier}
    result = train(name, output=output, on_event=keep, **options)
    return Run(name, options, result, killed)


def read_rows(result: TrainingResult) -> list[dict[str, str]]:
    with (result.run_dir / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_parts_of_the_data_are_used(run: Run) -> None:
    result = run.result
    assert result.status is RunStatus.FINISHED
    assert (result.head_epochs, result.epochs) == (1, 2)
    rows = read_rows(result)
    assert [row["phase"] for row in rows] == ["train head", *["train network"] * 2]
    metric = f"val_{NETWORKS[run.name]}"
    assert next(iter(result.metrics)) == metric
    assert all(0 <= float(row[metric]) <= 1 for row in rows)
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    record = json.loads((result.run_dir / "run.json").read_text())
    assert (record["data"]["train"]["images"], record["data"]["val"]["images"]) == (9, 4)


def test_the_model_says_what_it_answers(run: Run) -> None:
    import keras

    contract = read_contract(run.result.model_path)
    assert contract is not None
    model = keras.models.load_model(run.result.model_path)
    outputs = model(np.zeros((1, 64, 48, 3), np.float32))
    if contract.task is Task.DETECT:
        assert contract.labels == LABELS
        assert contract.detection is not None
        assert outputs["box_encodings"].shape == (1, contract.detection.num_anchors, 4)
        scores = np.asarray(outputs["class_scores"])
        assert scores.shape == (1, contract.detection.num_anchors, len(LABELS) + 1)
        assert 0 <= scores.min() <= scores.max() <= 1
    else:
        assert contract.labels == ("background", *LABELS)
        assert outputs.shape == (1, 64, 48, len(LABELS) + 1)


def test_a_killed_run_goes_on_to_the_same_result(run: Run) -> None:
    assert len(read_rows(replace(run.result, run_dir=run.killed))) == 2
    resumed = train(run.name, output=run.killed, resume=True, **run.options)
    assert resumed.resumed_from == "train network, epoch 1"
    ours, wanted = read_rows(resumed)[-1], read_rows(run.result)[-1]
    for column in ("loss", "val_loss", f"val_{NETWORKS[run.name]}"):
        assert float(ours[column]) == pytest.approx(float(wanted[column]), abs=1e-2)


def test_the_backbone_stands_still_while_the_head_is_trained(
    scenes: Path, classifier: Path, tmp_path: Path
) -> None:
    """With focal loss, which is to train as well."""
    import keras

    options = OPTIONS | {"epochs": 0, "box_loss": "focal"}
    result = train(
        "ssd_mobilenet_v1", data=scenes, output=tmp_path / "run", weights=classifier, **options
    )
    assert (result.head_epochs, result.epochs) == (1, 0)
    assert np.isfinite(result.metrics["loss"])
    trained, before = (
        keras.models.load_model(path, compile=False) for path in (result.model_path, classifier)
    )
    for layer in before.layers:
        if not layer.name.startswith("head_") and layer.weights:
            twin = trained.get_layer(layer.name)
            for one, two in zip(twin.get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(one, two)


def test_transposed_upsampling_and_class_weights_train_from_nothing(
    scenes: Path, tmp_path: Path
) -> None:
    options = OPTIONS | {"epochs": 1, "upsampling": "transposed", "class_weights": True}
    result = train("unet_mobilenet_v1", data=scenes, output=tmp_path / "run", **options)
    assert (result.head_epochs, result.epochs) == (0, 1)
    assert np.isfinite(result.metrics["loss"])


def test_the_wrong_kind_of_data_is_refused_before_anything_is_written(
    scenes: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no boxes"):
        train("ssd_mobilenet_v1", data=scenes / "masks", output=tmp_path / "run", **OPTIONS)
    with pytest.raises(InvalidConfigError, match="mixup"):
        train("ssd_mobilenet_v1", data=scenes, output=tmp_path / "run", mixup=0.2)
    assert not (tmp_path / "run").exists()
