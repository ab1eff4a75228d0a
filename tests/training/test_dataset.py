from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from annotated import add_image, add_mask
from PIL import Image

from edgevision.data.scenes import write_dataset
from edgevision.errors import DataError
from edgevision.specs import Task
from edgevision.training.dataset import DataOptions, TrainingData, read_training_data


def write_images(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((8, 8, 3), index, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def read(folder: Path, val: Path | None = None) -> TrainingData:
    options = DataOptions(folder=folder, val_folder=val, val_fraction=0.25, seed=1)
    return read_training_data(Task.CLASSIFY, options)


def test_holds_out_a_share_of_every_class(tmp_path: Path) -> None:
    data = read(write_images(tmp_path / "d", {"a": 8, "b": 4}))
    assert (len(data.train), len(data.val)) == (6 + 3, 2 + 1)
    assert not set(data.train.files) & set(data.val.files)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 3}, "two classes"),
        ({"a": 3, "b": 0}, "b"),
        ({"a": 3, "lonely": 1}, "lonely"),
    ],
)
def test_classes_that_can_not_be_trained(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(write_images(tmp_path / "d", counts))


def test_one_image_is_enough_when_validation_has_its_own_folder(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "d", {"a": 3, "b": 1})
    val = write_images(tmp_path / "v", {"b": 2})
    data = read(folder, val)
    assert data.val.targets == (1, 1)


def test_validation_labels_that_training_does_not_have(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "d", {"a": 3, "b": 3})
    with pytest.raises(DataError, match="zebra"):
        read(folder, write_images(tmp_path / "v", {"zebra": 2}))


def test_the_hash_follows_the_files_not_their_place(tmp_path: Path) -> None:
    counts = {"a": 4, "b": 4}
    one = read(write_images(tmp_path / "one", counts)).describe()
    two = read(write_images(tmp_path / "two", counts)).describe()
    assert one == two
    (tmp_path / "two" / "a" / "9.png").write_bytes(b"more")
    assert read(tmp_path / "two").describe() != one


def test_a_mask_value_that_counts_as_no_class_makes_no_class(tmp_path: Path) -> None:
    for number in range(4):
        add_image(tmp_path / f"images/{number}.png", (2, 2))
        add_mask(tmp_path / f"masks/{number}.png", [[0, 1], [2, 200]])
    options = DataOptions(folder=tmp_path, val_fraction=0.5, ignore_index=200)
    data = read_training_data(Task.SEGMENT, options)
    assert data.labels == ("background", "class 1", "class 2")
    assert data.train.load_mask(0).tolist() == [[0, 1], [2, 255]]


def test_a_detector_needs_objects_in_both_parts(tmp_path: Path) -> None:
    scenes = write_dataset(tmp_path / "scenes", num_train=3, num_val=2, size=32)
    facts = json.loads((scenes / "scenes.json").read_text())
    data = read_training_data(Task.DETECT, DataOptions(folder=scenes))
    assert (len(data.train), len(data.val)) == (3, 2)
    for image in facts["images"]:
        if image["file"].startswith("val/"):
            image["boxes"], image["classes"] = [], []
    (scenes / "scenes.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="to judge by"):
        read_training_data(Task.DETECT, DataOptions(folder=scenes))
