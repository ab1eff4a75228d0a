"""What data a model is measured on; the figures themselves have tests of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgevision as ev
from edgevision.errors import DataError, InvalidConfigError, MissingFileError
from edgevision.runtime.evaluation import HEADLINES, evaluate_model, find_part, read_data
from edgevision.specs import Part, Task


@pytest.fixture
def masks(tmp_path):
    """Parts of black images, which belong to the last of four classes."""
    from PIL import Image

    for part in ("train", "test"):
        for name, mode in (("images", "RGB"), ("masks", "L")):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            Image.new(mode, (6, 5), 3 if mode == "L" else 0).save(folder / "a.png")
    return tmp_path / "data"


def test_parts_are_found_by_task(masks):
    assert find_part(Task.CLASSIFY, masks, None) is None
    assert find_part(Task.SEGMENT, masks, None) is Part.TEST
    assert find_part(Task.SEGMENT, masks / "train", None) is None
    assert find_part(Task.SEGMENT, masks, "train") is Part.TRAIN
    with pytest.raises(InvalidConfigError, match="part=half"):
        find_part(Task.SEGMENT, masks, "half")
    with pytest.raises(MissingFileError):
        find_part(Task.DETECT, masks / "none", None)
    with pytest.raises(DataError):
        find_part(Task.DETECT, masks, None)


def test_headline_is_a_figure_of_the_result(masks):
    model = ev.load(Path(__file__).parent / "models/masks.tflite")
    result = evaluate_model(model, masks)
    assert getattr(result, HEADLINES[Task.SEGMENT]) == result.mean_iou == 1
    assert "test part" in result.notes[-1]
    assert evaluate_model(model, masks, part="train").notes == ()


def test_broken_images_stop_or_are_skipped(write_folder, float_model):
    folder = write_folder({"star/0.png": 0, "cross/1.png": 1})
    (folder / "star/2.png").write_text("no image")
    with pytest.raises(DataError, match=r"2\.png"):
        evaluate_model(ev.load(float_model), folder)
    assert len(read_data(Task.CLASSIFY, folder, skip_broken=True)) == 2
