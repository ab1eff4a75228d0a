from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_detectors import CONTRACT, DETECTION, build_detector_body
from tiny_models import build_segmenter

from edgevision.benchmarks.accuracy import check_data, evaluate
from edgevision.contract import Contract
from edgevision.errors import DataError, InvalidModelError
from edgevision.graph.archives import split_files
from edgevision.graph.contracts import attach_contract
from edgevision.graph.postprocess import append_postprocess

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


def test_part_of_class_folders_is_a_folder(folder):
    (folder / "val").mkdir()
    for label in ("star", "cross"):
        (folder / label).rename(folder / "val" / label)
    assert evaluate(MODEL, folder, part="val").samples == 4
    with pytest.raises(DataError, match="no part 'test'"):
        evaluate(MODEL, folder, part="test")


@pytest.fixture
def boxes(tmp_path):
    """Three images of Pascal VOC with one circle each; two are listed for training, one for val."""
    root = tmp_path / "boxes"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (40, 30), "gray").save(root / f"JPEGImages/{name}.jpg")
        box = "<xmin>5</xmin><ymin>6</ymin><xmax>25</xmax><ymax>26</ymax>"
        (root / f"Annotations/{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename>"
            "<size><width>40</width><height>30</height><depth>3</depth></size>"
            f"<object><name>circle</name><bndbox>{box}</bndbox></object></annotation>"
        )
    (root / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (root / "ImageSets/Main/val.txt").write_text("c\n")
    return root


@pytest.fixture
def detector(tmp_path):
    model = append_postprocess(build_detector_body(), DETECTION, len(CONTRACT.labels))
    path = tmp_path / "detector.tflite"
    path.write_bytes(attach_contract(model, CONTRACT))
    return path


def test_detector_is_measured_on_the_validation_part(boxes, detector):
    pytest.importorskip("pycocotools")
    result = evaluate(detector, boxes)
    assert result.samples == 1
    assert 0 <= result.map <= result.map50 <= 1
    assert any("val part" in note for note in result.notes)
    assert [row.label for row in result.per_class] == ["circle"]
    train = evaluate(detector, boxes, part="train")
    assert (train.samples, train.notes) == (2, ())
    assert evaluate(detector, boxes / "ImageSets/Main/train.txt").samples == 2


def test_segmenter_is_measured(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for i in range(2):
        Image.new("RGB", (9, 7), "gray").save(tmp_path / f"images/{i}.png")
        Image.new("L", (9, 7), 1).save(tmp_path / f"masks/{i}.png")
    labels = ("background", "a", "b", "c")
    contract = Contract(task="segment", labels=labels)
    path = tmp_path / "segmenter.tflite"
    path.write_bytes(attach_contract(build_segmenter(), contract))
    result = evaluate(path, tmp_path)
    # Equal scores count for the first class: all background.
    assert (result.samples, result.pixel_accuracy, result.mean_iou) == (2, 0, 0)
    assert [row.label for row in result.per_class] == ["background", "a"]


def test_data_must_fit_one_of_the_files(folder, boxes, detector):
    check_data([MODEL], folder)
    check_data([MODEL, detector], boxes)
    with pytest.raises(DataError):
        check_data([detector], folder / "star")


def test_background_class_of_a_real_model(real_data):
    model = real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"
    result = evaluate(model, real_data / "imagenet/val")
    assert result.samples == 300
    assert result.top1 > 0.5
    assert "background" in result.notes[0]
