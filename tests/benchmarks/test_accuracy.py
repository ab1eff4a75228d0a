from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.benchmarks.accuracy import evaluate
from edgevision.errors import DataError, InvalidModelError
from edgevision.graph.archives import split_files

MODEL = Path(__file__).parents[1] / "runtime/models/float.tflite"


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("star", "cross"):
        (tmp_path / label).mkdir()
        for i in range(2):
            pixels = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{i}.png")
    return tmp_path


def test_file_and_folder_give_figures(folder):
    result = evaluate(MODEL, folder)
    assert result.samples == 4
    assert 0 <= result.top1 <= result.top5 == 1
    assert result.notes == ()


def test_what_the_file_does_not_say_is_noted(folder):
    plain = folder / "plain.tflite"
    model, _ = split_files(MODEL.read_bytes())
    plain.write_bytes(model.replace(b"TFLITE_METADATA", b"OTHERS_METADATA"))
    notes = evaluate(plain, folder, labels=("circle", "square", "star", "cross")).notes
    assert any("preprocessing.mean" in note for note in notes)


def test_broken_images_stop_or_are_skipped(folder):
    (folder / "star/broken.png").write_text("no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        evaluate(MODEL, folder)
    result = evaluate(MODEL, folder, skip_broken=True)
    assert result.samples == 4
    assert [file.name for file, _ in result.skipped] == ["broken.png"]


def test_model_comes_before_data(tmp_path):
    (tmp_path / "noise.tflite").write_bytes(b"noise" * 99)
    with pytest.raises(InvalidModelError):
        evaluate(tmp_path / "noise.tflite", tmp_path)


def test_background_class_of_a_real_model(real_data):
    model = real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    result = evaluate(model, real_data / "imagenet/val")
    assert result.samples == 300
    assert result.top1 > 0.5
    assert "background" in result.notes[0]
