from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_models import build_segmenter

import edgevision as ev
from edgevision.contract import Contract, Preprocessing
from edgevision.data.preprocess import Geometry
from edgevision.errors import InvalidConfigError, InvalidModelError, UnsupportedOpError
from edgevision.runtime.class_maps import choose_classes, lay_out_axes
from edgevision.runtime.results import Segmentation
from edgevision.runtime.segment import Segmenter
from edgevision.specs import Quantization, ScoreKind, TensorSpec

SIDE = 4
LABELS = ("background", "cat", "dog")
PHOTO = np.zeros((SIDE, SIDE, 3), np.uint8)


class FakeSession:
    """Answers one array, without a model."""

    backend = "fake"

    def __init__(self, output, *, nchw=False, quantization=None):
        self.output = np.asarray(output)
        shape = (1, 3, SIDE, SIDE) if nchw else (1, SIDE, SIDE, 3)
        self.inputs = (TensorSpec(name="image", shape=shape, dtype="float32"),)
        self.outputs = (
            TensorSpec(
                name="y",
                shape=self.output.shape,
                dtype=self.output.dtype.name,
                quantization=quantization,
            ),
        )

    def run(self, inputs):
        return {"y": self.output}


def load_fake(output, *, nchw=False, quantization=None, **contract):
    session = FakeSession(output, nchw=nchw, quantization=quantization)
    return Segmenter(session, Contract(**{"task": "segment", "labels": LABELS, **contract}))


def make_scores(mask, num_classes=3):
    """One-hot scores (1, H, W, C) of a mask."""
    return np.eye(num_classes, dtype=np.float32)[np.array(mask)][None]


MASK = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [2, 2, 2, 0]])


def test_best_class_of_every_pixel():
    answer = load_fake(make_scores(MASK)).predict(PHOTO)
    np.testing.assert_array_equal(answer.mask, MASK)
    assert answer.mask.dtype == np.uint8
    assert answer.labels == LABELS


def test_areas_and_document():
    answer = load_fake(make_scores(MASK)).predict(PHOTO)
    assert [(a.label, a.pixels, a.share) for a in answer.areas] == [
        ("dog", 7, 7 / 16),
        ("background", 5, 5 / 16),
        ("cat", 4, 4 / 16),
    ]
    document = answer.to_dict()
    assert (document["height"], document["width"]) == (SIDE, SIDE)
    assert document["areas"][2] == {"label": "cat", "index": 1, "pixels": 4, "share": 0.25}
    np.testing.assert_array_equal(answer.select("cat"), MASK == 1)
    with pytest.raises(InvalidConfigError, match="cow"):
        answer.select("cow")


def test_channels_first():
    scores = make_scores(MASK).transpose(0, 3, 1, 2)
    answer = load_fake(scores, nchw=True).predict(PHOTO)
    np.testing.assert_array_equal(answer.mask, MASK)


def test_quantized_scores_need_no_scale():
    quantization = Quantization(scales=(0.1,), zero_points=(3,))
    scores = (make_scores(MASK) * 100 - 50).astype(np.int8)
    answer = load_fake(scores, quantization=quantization).predict(PHOTO)
    np.testing.assert_array_equal(answer.mask, MASK)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("shape", [(1, SIDE, SIDE), (1, SIDE, SIDE, 1)])
def test_maps_of_class_numbers(dtype, shape):
    answer = load_fake(MASK.astype(dtype).reshape(shape)).predict(PHOTO)
    np.testing.assert_array_equal(answer.mask, MASK)
    assert answer.mask.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(ScoreKind.PROBABILITIES, 0.4, 0.6), (ScoreKind.LOGITS, -0.1, 0.1)],
)
def test_one_score_for_a_foreground(kind, low, high):
    scores = np.where(MASK == 1, high, low).astype(np.float32).reshape(1, SIDE, SIDE, 1)
    answer = load_fake(scores, labels=("cell",), scores=kind).predict(PHOTO)
    np.testing.assert_array_equal(answer.mask, MASK == 1)
    assert answer.labels == ("background", "cell")


def test_large_image_has_a_large_mask():
    answer = load_fake(make_scores(MASK)).predict(np.zeros((40, 80, 3), np.uint8))
    assert answer.mask.shape == (40, 80)
    # Away from borders every cell becomes a block of its class.
    np.testing.assert_array_equal(answer.mask[5::10, 10::20], MASK)


def test_class_numbers_take_the_nearest():
    answer = load_fake(MASK[None].astype(np.int32)).predict(np.zeros((8, 12, 3), np.uint8))
    np.testing.assert_array_equal(answer.mask, MASK.repeat(2, axis=0).repeat(3, axis=1))


def interpolate(scores, height, width):
    """Enlarge (h, w, C) bilinearly with half-pixel centres, and choose the best class."""

    def place(count, length):
        position = np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1)
        low = np.minimum(position.astype(int), length - 2)
        return low, position - low

    (y, fy), (x, fx) = place(height, scores.shape[0]), place(width, scores.shape[1])
    rows = scores[y] * (1 - fy)[:, None, None] + scores[y + 1] * fy[:, None, None]
    full = rows[:, x] * (1 - fx)[:, None] + rows[:, x + 1] * fx[:, None]
    return full.argmax(axis=-1)


@pytest.mark.parametrize("size", [(31, 47), (3, 5), (7, 7), (200, 10)])
def test_borders_are_those_of_interpolated_scores(size):
    scores = np.random.default_rng(4).normal(0, 1, (7, 9, 3)).astype(np.float32)
    geometry = Geometry(image_size=size, scale=(size[0] / 7, size[1] / 9), offset=(0, 0))
    axes = lay_out_axes(geometry, (7, 9), (7, 9))
    mask = choose_classes(scores, axes)
    expected = interpolate(scores, *size)
    # Rounding may decide where two classes are as good as equal.
    assert (mask != expected).mean() < 0.01


def test_outside_of_the_crop_nothing_is_seen():
    preprocessing = Preprocessing(resize="crop", crop_fraction=0.5)
    segmenter = load_fake(make_scores(np.ones((SIDE, SIDE), int)), preprocessing=preprocessing)
    answer = segmenter.predict(np.zeros((16, 16, 3), np.uint8))
    expected = np.full((16, 16), 255)
    expected[4:12, 4:12] = 1
    np.testing.assert_array_equal(answer.mask, expected)
    assert [(a.label, a.pixels, a.share) for a in answer.areas] == [("cat", 64, 1)]


def test_letterbox_margin_is_cut_off():
    mask = np.array([[1] * 4, [0] * 4, [2] * 4, [1] * 4])
    segmenter = load_fake(make_scores(mask), preprocessing=Preprocessing(resize="letterbox"))
    answer = segmenter.predict(np.zeros((8, 16, 3), np.uint8))
    assert answer.mask.shape == (8, 16)
    assert answer.mask[1, 3] == 0
    assert answer.mask[6, 3] == 2


def test_many_classes_need_two_bytes():
    scores = np.zeros((1, SIDE, SIDE, 300), np.float32)
    scores[..., 299] = 1
    answer = load_fake(scores, labels=()).predict(PHOTO)
    assert (answer.mask.dtype, answer.unseen) == (np.uint16, 65535)
    assert answer.areas[0].label == "class 299"


def test_labels_fit_the_classes():
    with pytest.raises(InvalidModelError, match="2 labels for 3 classes"):
        load_fake(make_scores(MASK), labels=("a", "b"))


@pytest.mark.parametrize("shape", [(1, 5), (1, SIDE, SIDE, 3, 1)])
def test_other_outputs_are_refused(shape):
    with pytest.raises(InvalidModelError, match="segmenter answers"):
        load_fake(np.zeros(shape, np.float32))


def test_two_outputs_are_refused():
    session = FakeSession(make_scores(MASK))
    session.outputs *= 2
    with pytest.raises(UnsupportedOpError, match="one output"):
        Segmenter(session, Contract(task="segment"))


def test_files_in_a_row(tmp_path, photo):
    path = tmp_path / "model.tflite"
    path.write_bytes(build_segmenter())
    segmenter = ev.load(path)
    one, two = segmenter.predict_batch([photo, photo[::2]])
    np.testing.assert_array_equal(one.mask, segmenter.predict(photo).mask)
    assert two.image_size == (10, 30)


def test_areas_of_no_pixels():
    empty = Segmentation(mask=np.full((2, 2), 255, np.uint8), labels=LABELS)
    assert empty.areas == ()


def test_real_birds(real_data):
    segmenter = ev.load(real_data / "models/deeplabv3.tflite")
    found = segmenter.predict(real_data / "images/bird_segmentation.bmp").select("bird")
    with Image.open(real_data / "images/bird_segmentation_mask.bmp") as image:
        true = np.asarray(image) == segmenter.labels.index("bird")
    assert (found & true).sum() / (found | true).sum() > 0.85
