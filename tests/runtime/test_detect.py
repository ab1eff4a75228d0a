from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_detectors import CONTRACT, DETECTION, LABELS, NUM_ANCHORS, SIDE, build_detector_body
from tiny_models import build_detector

import edgevision as ev
from edgevision.contract import AnchorGrid, Contract, Detection, Preprocessing
from edgevision.errors import DataError, InvalidConfigError, InvalidModelError
from edgevision.graph.contracts import attach_contract
from edgevision.graph.postprocess import append_postprocess
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.detect import Detector
from edgevision.runtime.detector_outputs import find_outputs
from edgevision.specs import Quantization, ScoreKind, TensorSpec

IMAGE = TensorSpec(name="image", shape=(1, 10, 10, 3), dtype="float32")
# One anchor in each quarter of the image, half as wide and high.
RULES = Detection(
    anchors=(AnchorGrid(size=(2, 2), boxes=((0.5, 0.5),)),), score_threshold=0.1, max_detections=10
)


class FakeSession:
    """Answers the arrays that it is told, without a model."""

    backend = "fake"

    def __init__(self, quantizations=None, **outputs):
        self.arrays = {name: np.asarray(values) for name, values in outputs.items()}
        self.inputs = (IMAGE,)
        self.outputs = tuple(
            TensorSpec(
                name=name,
                shape=array.shape,
                dtype=array.dtype.name,
                quantization=(quantizations or {}).get(name),
            )
            for name, array in self.arrays.items()
        )

    def run(self, inputs):
        return self.arrays


def make_results(boxes, classes, scores, count=None):
    number = len(scores) if count is None else count
    return FakeSession(
        boxes=np.float32([boxes]),
        classes=np.float32([classes]),
        scores=np.float32([scores]),
        count=np.float32([number]),
    )


def make_heads(scores, encodings=None, **values):
    encodings = np.zeros((4, 4)) if encodings is None else encodings
    return FakeSession(
        box_encodings=np.float32([encodings]), class_scores=np.float32([scores]), **values
    )


def load_fake(session, **contract):
    values = {"task": "detect", "labels": ("cat", "dog"), "detection": RULES}
    return Detector(session, Contract(**{**values, **contract}))


def list_found(answer):
    return [(f.label, round(f.score, 3), tuple(round(v, 3) for v in f.box)) for f in answer]


def test_results_are_in_pixels_of_the_image():
    session = make_results([[0, 0.5, 1, 1], [0.1, 0.2, 0.3, 0.4]], [1, 0], [0.5, 0.75])
    answer = load_fake(session).predict(np.zeros((50, 200, 3), np.uint8))
    assert list_found(answer) == [("cat", 0.75, (5, 40, 15, 80)), ("dog", 0.5, (0, 100, 50, 200))]
    assert answer.boxes.dtype == np.float32
    assert (answer.scores.dtype, answer.classes.dtype) == (np.float32, np.int64)
    assert answer.image_size == (50, 200)


@pytest.mark.parametrize(
    ("resize", "size", "box"),
    [
        ("stretch", (20, 40), (10, 0, 20, 20)),
        # 40x20 in 10x10: 5 columns, 2.5 of margin on both sides, rounded down to 2.
        ("letterbox", (40, 20), (20, -8 + 8, 40, 12)),
        # The middle 20x20 of 20x40.
        ("crop", (20, 40), (10, 10, 20, 20)),
    ],
)
def test_geometry_is_undone(resize, size, box):
    session = make_results([[0.5, 0, 1, 0.5]], [0], [0.9])
    detector = load_fake(session, preprocessing=Preprocessing(resize=resize))
    (found,) = detector.predict(np.zeros((*size, 3), np.uint8))
    assert found.box == pytest.approx(box)


def test_only_what_counts_is_read():
    session = make_results([[0, 0, 1, 1]] * 3, [0, 1, 1], [0.9, 0.8, 0.7], count=1)
    assert len(load_fake(session).predict(np.zeros((9, 9, 3), np.uint8))) == 1


def test_limits():
    session = make_results([[0, 0, 1, 1]] * 3, [0, 1, 1], [0.9, 0.5, 0.2])
    detector, image = load_fake(session), np.zeros((9, 9, 3), np.uint8)
    assert len(detector.predict(image)) == 2
    assert len(detector.predict(image, threshold=0.2)) == 3
    assert len(detector.predict(image, threshold=0.9)) == 1
    assert detector.predict(image, 1).labels == ("cat",)
    assert [len(a) for a in detector.predict_batch([image] * 3, threshold=0)] == [3, 3, 3]
    for bad in (-0.1, 1.5, float("nan")):
        with pytest.raises(InvalidConfigError, match="threshold"):
            detector.predict(image, threshold=bad)
    with pytest.raises(InvalidConfigError, match="top_k=0"):
        detector.predict_batch([image], 0)


def test_boxes_in_the_margin_are_nothing():
    session = make_results([[0.1, 0, 0.9, 0.15], [0, 0, 1, 1]], [0, 1], [0.9, 0.8])
    detector = load_fake(session, preprocessing=Preprocessing(resize="letterbox"))
    assert detector.predict(np.zeros((40, 20, 3), np.uint8)).labels == ("dog",)


def test_raw_heads_are_decoded():
    scores = np.full((4, 3), 0.05)
    scores[3, 2], scores[0, 1], scores[1, 0] = 0.9, 0.6, 0.99  # the first column is background
    answer = load_fake(make_heads(scores)).predict(np.zeros((100, 200, 3), np.uint8))
    assert list_found(answer) == [("dog", 0.9, (50, 100, 100, 200)), ("cat", 0.6, (0, 0, 50, 100))]


def test_heads_without_background():
    scores = np.zeros((4, 2))
    scores[2, 0] = 0.5
    detector = load_fake(make_heads(scores), detection=replace(RULES, background=False))
    assert detector.predict(np.zeros((10, 10, 3), np.uint8)).labels == ("cat",)


@pytest.mark.parametrize(("agnostic", "labels"), [(False, ("dog", "cat")), (True, ("dog",))])
def test_suppression_follows_the_contract(agnostic, labels):
    encodings = np.zeros((4, 4))
    encodings[1] = (0, -10, 0, 0)  # one anchor width to the left: onto the first box
    scores = np.zeros((4, 3))
    scores[0, 1], scores[1, 2] = 0.6, 0.8
    rules = replace(RULES, class_agnostic=agnostic)
    detector = load_fake(make_heads(scores, encodings), detection=rules)
    assert detector.predict(np.zeros((10, 10, 3), np.uint8)).labels == labels


def test_logits_become_probabilities():
    scores = np.full((4, 3), -9.0)
    scores[0, 1] = np.log(3)
    detector = load_fake(make_heads(scores), scores=ScoreKind.LOGITS)
    (found,) = detector.predict(np.zeros((10, 10, 3), np.uint8), threshold=0.7)
    assert found.score == pytest.approx(3 / 4)
    assert not len(detector.predict(np.zeros((10, 10, 3), np.uint8), threshold=0.8))
    assert not len(detector.predict(np.zeros((10, 10, 3), np.uint8), threshold=1))


def test_heads_have_scales_of_their_own():
    quantizations = {
        "box_encodings": Quantization(scales=(0.5,), zero_points=(2,)),
        "class_scores": Quantization(scales=(1 / 256,), zero_points=(-128,)),
    }
    encodings = np.full((1, 4, 4), 2, np.int8)
    encodings[0, 0, 0] = 22  # (22 - 2) / 2 = 10: one anchor height down
    scores = np.full((1, 4, 3), -128, np.int8)
    scores[0, 0, 1] = 64
    session = FakeSession(quantizations, box_encodings=encodings, class_scores=scores)
    answer = load_fake(session).predict(np.zeros((10, 10, 3), np.uint8))
    assert list_found(answer) == [("cat", 0.75, (5, 0, 10, 5))]


def test_the_contract_sets_the_lowest_score():
    scores = np.full((4, 3), 0.4)
    image = np.zeros((10, 10, 3), np.uint8)
    detector = load_fake(make_heads(scores), detection=replace(RULES, score_threshold=0.5))
    assert len(detector.predict(image, threshold=0)) == 0
    relaxed = detector.relax(score_threshold=0.01, max_detections=100)
    assert len(relaxed.predict(image, threshold=0)) == 8
    assert len(detector.predict(image, threshold=0)) == 0


def test_missing_anchors_and_foreign_outputs():
    heads = make_heads(np.zeros((4, 3)))
    with pytest.raises(InvalidModelError, match="needs its anchors"):
        load_fake(heads, detection=None)
    with pytest.raises(InvalidModelError, match="needs its anchors"):
        load_fake(heads, detection=Detection())
    grid = AnchorGrid(size=(3, 3), boxes=((1, 1),))
    with pytest.raises(InvalidModelError, match="9 anchors"):
        load_fake(heads, detection=Detection(anchors=(grid,)))
    with pytest.raises(InvalidModelError, match=r"mask \(1, 8, 8\)"):
        load_fake(FakeSession(mask=np.zeros((1, 8, 8))))


def test_labels_fit_the_classes():
    heads = make_heads(np.zeros((4, 3)))
    with pytest.raises(InvalidModelError, match="3 labels for 2 classes"):
        load_fake(heads, labels=("a", "b", "c"))
    with pytest.raises(InvalidModelError, match="1 labels for 2 classes"):
        load_fake(heads, labels=("a",))
    assert load_fake(heads, labels=("???", "a", "b")).labels == ("a", "b")
    assert load_fake(heads, labels=()).labels == ("class 0", "class 1")


def test_classes_without_names_are_numbered():
    detector = load_fake(make_results([[0, 0, 1, 1]], [7], [0.9]), labels=("background", "cat"))
    assert detector.labels == ("cat",)
    assert detector.predict(np.zeros((9, 9, 3), np.uint8)).labels == ("class 7",)


def test_outputs_are_told_apart_by_the_operation():
    graph = read_tflite(build_detector())
    specs = [TensorSpec(name=n, shape=(1,), dtype="float32") for n in ("a", "b", "c", "d")]
    found = find_outputs(specs, Contract(task="detect"), graph).specs
    assert {name: spec.name for name, spec in found.items()} == {
        "boxes": "d",
        "classes": "c",
        "scores": "b",
        "count": "a",
    }


@pytest.fixture
def detector_files(tmp_path):
    """The same network with raw heads, and with the operation that suppresses boxes."""
    body = build_detector_body()
    files = {
        "raw.tflite": body,
        "nms.tflite": append_postprocess(body, DETECTION, len(LABELS)),
    }
    for name, model in files.items():
        (tmp_path / name).write_bytes(attach_contract(model, CONTRACT))
    return tmp_path


@pytest.mark.parametrize("seed", range(4))
def test_operation_and_own_suppression_agree(detector_files, seed):
    image = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    raw, nms = (
        ev.load(detector_files / name).predict(image, threshold=0)
        for name in ("raw.tflite", "nms.tflite")
    )
    assert 0 < len(nms) <= NUM_ANCHORS * len(LABELS)
    assert raw.labels == nms.labels
    np.testing.assert_allclose(raw.scores, nms.scores, atol=1e-6)
    np.testing.assert_allclose(raw.boxes, nms.boxes, atol=1e-3)


def test_files_in_a_row(detector_files, photo):
    detector = ev.load(detector_files / "raw.tflite")
    one, two = detector.predict_batch([photo, photo[:, ::-1]], threshold=0)
    np.testing.assert_array_equal(one.boxes, detector.predict(photo, threshold=0).boxes)
    assert one.image_size == two.image_size == photo.shape[:2]


def test_broken_image_is_named(detector_files):
    (detector_files / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg"):
        ev.load(detector_files / "raw.tflite").predict(detector_files / "text.jpg")


def test_real_photo_of_a_cat(real_data):
    name = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    detector = ev.load(real_data / "models" / name)
    best = next(iter(detector.predict(real_data / "images/cat.bmp")))
    assert best.label == "cat"
    assert detector.predict(real_data / "images/grace_hopper.bmp").labels[0] == "person"
