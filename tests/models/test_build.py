from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.errors import InvalidConfigError
from edgevision.graph.contracts import read_contract
from edgevision.models.build import build_file
from edgevision.specs import Task

keras = pytest.importorskip("keras")

TINY = {"alpha": 0.1, "input_size": 32, "num_classes": 2}


def test_file_carries_labels_and_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    result = build_file("mobilenet_v1", path, labels=("cat", "dog"), **TINY)  # type: ignore[arg-type]
    contract = read_contract(path)
    assert contract is not None
    assert contract.labels == ("cat", "dog")
    assert (contract.preprocessing.mean, contract.preprocessing.std) == ((127.5,), (127.5,))
    document = result.to_dict()
    assert (document["output"], set(document)) == (str(path), {"output", "params", "macs", "notes"})


def test_weights_for_another_head_are_told(tmp_path: Path) -> None:
    build_file("mobilenet_v1", tmp_path / "two.keras", **TINY)  # type: ignore[arg-type]
    choices = {**TINY, "num_classes": 3, "weights": tmp_path / "two.keras"}
    result = build_file("mobilenet_v1", tmp_path / "three.keras", **choices)  # type: ignore[arg-type]
    assert "random weights" in result.notes[0]


def test_a_detector_carries_its_anchors_and_one_class_per_label(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    labels = ("cat", "dog", "bird")
    build_file("ssd_mobilenet_v1", path, alpha=0.1, input_size=(64, 48), labels=labels)
    contract = read_contract(path)
    assert contract is not None
    assert (contract.task, contract.labels) == (Task.DETECT, labels)
    assert contract.detection is not None
    assert contract.detection.num_anchors == 84
    model = keras.models.load_model(path, compile=False)
    assert model.output["class_scores"].shape == (None, 84, 4)


def test_a_classifier_leaves_the_head_of_a_detector_random_and_says_so(tmp_path: Path) -> None:
    build_file("mobilenet_v1", tmp_path / "two.keras", **TINY)  # type: ignore[arg-type]
    choices = {**TINY, "weights": tmp_path / "two.keras"}
    result = build_file("ssd_mobilenet_v1", tmp_path / "ssd.keras", **choices)  # type: ignore[arg-type]
    assert result.notes[0].startswith("random weights in head_")
    assert "more layers" in result.notes[0]


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [("m.tflite", (), "is a .keras file"), ("m.keras", ("one",), "one label per class")],
)
def test_refused_before_tensorflow_is_loaded(
    tmp_path: Path, name: str, labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        build_file("mobilenet_v1", tmp_path / name, labels=labels, **TINY)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
