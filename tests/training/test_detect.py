from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgevision.models.predictions import SCORE_LAYERS
from edgevision.models.registry import default_contract
from edgevision.specs import Task
from edgevision.training.config import plan_training
from edgevision.training.dataset import TrainingData
from edgevision.training.detect import DetectJob

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = ("a", "b", "c")
SIZE = (64, 48)


def build(name: str, **options: Any) -> Any:
    config = plan_training(Task.DETECT, name, {"alpha": 0.25, "input_size": SIZE, **options})
    part = SimpleNamespace(labels=LABELS)
    contract = default_contract(name, labels=LABELS, input_size=SIZE)
    job = DetectJob(config, TrainingData(train=part, val=part), contract, report=None)
    job.build(load_weights=False)
    return job.model


@pytest.mark.parametrize(
    ("name", "box_loss", "background", "objects"),
    [
        ("ssd_mobilenet_v1", "hard-negatives", 0.75, 0.25),
        ("ssdlite_mobilenet_v2", "focal", 0.5, 0.01),
        ("ssd_mobilenet_v2_fpnlite", "focal", 0.5, 0.01),
    ],
)
def test_the_first_guess_is_what_the_loss_will_mostly_meet(
    name: str, box_loss: str, background: float, objects: float
) -> None:
    model = build(name, box_loss=box_loss)
    for layer in model.layers:
        if layer.name.startswith(SCORE_LAYERS) and hasattr(layer, "kernel"):
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    logits = np.asarray(model(np.ones((1, *SIZE, 3), np.float32))["class_scores"])[0]
    shares = 1 / (1 + np.exp(-logits))
    expected = [background, *(objects / len(LABELS),) * len(LABELS)]
    np.testing.assert_allclose(shares, np.tile(expected, (len(shares), 1)), rtol=1e-5)
