from __future__ import annotations

import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import edgevision as ev
from edgevision.contract import Contract, Preprocessing
from edgevision.errors import (
    DataError,
    InvalidConfigError,
    InvalidModelError,
    MissingFileError,
    UnsupportedOpError,
)
from edgevision.runtime.classify import Classifier, dequantize, find_best
from edgevision.specs import Quantization, ScoreKind, TensorSpec

IMAGE = TensorSpec(name="image", shape=(1, 4, 4, 3), dtype="float32")


class FakeSession:
    """Answers what it is told, without a model."""

    def __init__(self, output, *, spec=None, inputs=(IMAGE,)):
        self.output = np.asarray(output)
        shape, dtype = self.output.shape, self.output.dtype.name
        self.outputs = (spec or TensorSpec(name="y", shape=shape, dtype=dtype),)
        self.inputs = inputs

    def run(self, inputs):
        return {self.outputs[0].name: self.output}


def classify(output, photo, *, spec=None, top_k=5, **contract):
    session = FakeSession(output, spec=spec)
    classifier = Classifier(session, Contract(task="classify", **contract))
    return classifier.predict(photo, top_k=top_k)


def test_best_first_with_labels(photo):
    answer = classify(np.float32([[0.1, 0.7, 0.2]]), photo, labels=("a", "b", "c"), top_k=2)
    assert [(p.label, p.index) for p in answer] == [("b", 1), ("c", 2)]
    assert answer.top.score == pytest.approx(0.7)


def test_without_labels_the_index_is_the_name(photo):
    assert classify(np.float32([[0.1, 0.9]]), photo).top.label == "class 1"


def test_logits_become_probabilities(photo):
    logits = np.float32([[1.0, 3.0]])
    answer = classify(logits, photo, scores=ScoreKind.LOGITS)
    expected = np.exp(3.0) / (np.exp(1.0) + np.exp(3.0))
    assert answer.top.score == pytest.approx(expected)


def test_quantized_scores_become_real(photo):
    quantization = Quantization(scales=(1 / 256,), zero_points=(-128,))
    spec = TensorSpec(name="y", shape=(1, 2), dtype="int8", quantization=quantization)
    answer = classify(np.int8([[-128, 64]]), photo, spec=spec)
    assert [p.score for p in answer] == [(64 + 128) / 256, 0]


def test_convolutional_head_is_one_row(photo):
    assert classify(np.float32([[[[0.2, 0.8]]]]), photo).top.index == 1


def test_unknown_length_is_found_by_running(photo):
    spec = TensorSpec(name="y", shape=(1, -1), dtype="float32")
    assert len(classify(np.float32([[0.5, 0.3, 0.2]]), photo, spec=spec)) == 3


def test_more_than_all_is_all(photo):
    assert len(classify(np.float32([[0.5, 0.5]]), photo, top_k=100)) == 2


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 7, 30])
def test_ties_keep_their_order_whatever_top_k(top_k):
    scores = np.float32([0, 0.5, 0, 0.5, 0.25, 0])
    assert find_best(scores, top_k).tolist() == [1, 3, 4, 0, 2, 5][:top_k]


@pytest.mark.parametrize("worst", [-np.inf, np.nan])
def test_unusable_scores_come_last(worst):
    scores = np.float32([worst, 0.1, worst, 0.2])
    assert find_best(scores, 3).tolist() == [3, 1, 0]


def test_best_of_many_is_that_of_a_full_sort():
    scores = np.random.default_rng(1).integers(0, 30, 1000).astype(np.float32)
    expected = np.argsort(-scores, kind="stable")[:5]
    np.testing.assert_array_equal(find_best(scores, 5), expected)


def test_float_output_is_not_dequantized():
    quantization = Quantization(scales=(0.5,), zero_points=(3,))
    spec = TensorSpec(name="y", shape=(1, 1), dtype="float32", quantization=quantization)
    assert dequantize(np.float32([4]), spec.quantization).tolist() == [4]


def test_labels_must_fit():
    with pytest.raises(InvalidModelError, match="3 labels for 2 classes"):
        Classifier(FakeSession(np.zeros((1, 2))), Contract(task="classify", labels="abc"))


@pytest.mark.parametrize("shape", [(1, 5, 5, 2), (1, 10, 4)])
def test_other_outputs_are_refused(shape):
    with pytest.raises(UnsupportedOpError):
        Classifier(FakeSession(np.zeros(shape, np.float32)), Contract(task="classify"))


def test_two_inputs_are_refused():
    session = FakeSession(np.zeros((1, 2)), inputs=(IMAGE, IMAGE))
    with pytest.raises(UnsupportedOpError, match="one input"):
        Classifier(session, Contract(task="classify"))


def test_every_kind_of_image_gives_the_same_answer(float_model, photo, tmp_path):
    classifier = ev.load(float_model)
    image = Image.fromarray(photo)
    image.save(tmp_path / "photo.png")
    memory = BytesIO()
    image.save(memory, "png")
    sources = (photo, image, tmp_path / "photo.png", str(tmp_path / "photo.png"))
    answers = {classifier.predict(source) for source in (*sources, memory.getvalue())}
    assert len(answers) == 1


def test_predict_follows_the_contract(int8_model, photo):
    classifier = ev.load(int8_model)
    pixels = np.asarray(Image.fromarray(photo).resize((2, 2), Image.Resampling.BILINEAR))
    code = pixels.astype(int) - 128  # scale 2/255 and zero point -1: one code per pixel value
    output = classifier.session.run({"image": code[None].astype(np.int8)})["logits"][0]
    logits = (output.astype(float) - 5) / 64
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(classifier.scores(photo), expected, rtol=1e-5)


def test_batch_equals_single_calls(float_model, photo):
    classifier = ev.load(float_model)
    images = [np.roll(photo, shift, axis=0) for shift in range(9)]
    single = [classifier.predict(image, top_k=2) for image in images]
    assert classifier.predict_batch(iter(images), top_k=2) == single
    assert classifier.predict_batch([]) == []


def test_threads_may_share_a_classifier(float_model, photo):
    classifier = ev.load(float_model, threads=1)
    images = [np.roll(photo, shift, axis=0) for shift in range(8)]
    expected = [classifier.predict(image) for image in images]
    wrong = []

    def work(number):
        for _ in range(50):
            if classifier.predict(images[number]) != expected[number]:
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_scores_are_not_overwritten_by_the_next_call(float_model, photo):
    classifier = ev.load(float_model)
    first = classifier.scores(photo)
    kept = first.copy()
    classifier.scores(255 - photo)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("top_k", [0, -3])
def test_top_k_is_checked(float_model, photo, top_k):
    classifier = ev.load(float_model)
    with pytest.raises(InvalidConfigError, match="top_k"):
        classifier.predict(photo, top_k=top_k)
    with pytest.raises(InvalidConfigError, match="top_k"):
        classifier.predict_batch([photo], top_k=top_k)


def test_broken_images_are_named(float_model, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    classifier = ev.load(float_model)
    with pytest.raises(DataError, match=r"text\.jpg"):
        classifier.predict(tmp_path / "text.jpg")
    with pytest.raises(DataError, match=r"text\.jpg"):
        classifier.predict_batch([tmp_path / "text.jpg"])
    with pytest.raises(MissingFileError):
        classifier.predict(tmp_path / "none.jpg")


def test_one_image_is_no_batch(float_model, photo, tmp_path):
    classifier = ev.load(float_model)
    for image in (photo, photo[:, :, 0], Image.fromarray(photo), tmp_path, str(tmp_path), b"x"):
        with pytest.raises(InvalidConfigError, match="several images"):
            classifier.predict_batch(image)
    assert len(classifier.predict_batch(np.stack([photo, photo]))) == 2


def test_onnx_in_nchw(onnx_model):
    preprocessing = {"mean": 0, "std": 255}
    classifier = ev.load(onnx_model, labels=("r", "g", "b"), scores="logits", **preprocessing)
    blue = np.zeros((10, 12, 3), np.uint8)
    blue[..., 2] = 255
    answer = classifier.predict(blue)
    assert answer.top.label == "b"
    assert answer.top.score == pytest.approx(np.exp(3) / (np.exp(3) + 2))


def test_real_photo_of_a_cat(real_data):
    classifier = ev.load(real_data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite")
    assert classifier.contract.preprocessing.mean == Preprocessing().mean
    assert classifier.predict(real_data / "images/cat.bmp").top.label == "Egyptian cat"
