from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgevision as ev
from edgevision.data.folders import ImageDataset, read_dataset
from edgevision.errors import DataError
from edgevision.runtime.evaluate import align_labels, collect_scores, evaluate_classifier

IMAGENET = tuple(f"n{i:08d}" for i in range(1000))


class FakeClassifier:
    """Gives each file the scores that its name spells: ``021.jpg`` ranks 0, then 2, then 1."""

    def __init__(self, labels=(), num_classes=3):
        self.contract = ev.Contract(task="classify", labels=labels)
        self.num_classes = num_classes
        self.labels = labels or tuple(f"class {i}" for i in range(num_classes))

    def iterate_scores(self, files):
        for file in files:
            order = [int(digit) for digit in Path(file).stem]
            scores = np.zeros(self.num_classes, np.float32)
            scores[order] = np.arange(len(order), 0, -1)
            yield scores


def make_dataset(rows: dict[str, int], labels: tuple[str, ...], **values) -> ImageDataset:
    files = tuple(Path(f"data/{name}") for name in rows)
    return ImageDataset(files=files, targets=tuple(rows.values()), labels=labels, **values)


def count_only(targets: tuple[int, ...], labels: tuple[str, ...]) -> ImageDataset:
    return make_dataset({f"{i}.jpg": t for i, t in enumerate(targets)}, labels)


def test_figures_are_shares():
    labels = ("a", "b", "c")
    rows = {"012.jpg": 0, "102.jpg": 0, "120.jpg": 1, "210.jpg": 1}
    result = evaluate_classifier(FakeClassifier(labels), make_dataset(rows, labels))
    assert result.top1 == 2 / 4
    assert result.top5 == 1
    assert result.samples == 4
    assert [(r.label, r.samples, r.recall) for r in result.per_class] == [
        ("a", 2, 1 / 2),
        ("b", 2, 1 / 2),
    ]
    assert [(c.label, c.predicted, c.count) for c in result.confusions] == [
        ("a", "b", 1),
        ("b", "c", 1),
    ]


def test_top5_of_many_classes():
    labels = tuple("abcdefgh")
    rows = {"01234567.jpg": 4, "12345670.jpg": 6}
    result = evaluate_classifier(FakeClassifier(labels, 8), make_dataset(rows, labels))
    assert (result.top1, result.top5) == (0, 1 / 2)


def test_names_are_matched_not_positions():
    dataset = make_dataset({"2.jpg": 0, "0.jpg": 1}, ("car", "traffic_light"))
    classifier = FakeClassifier(("traffic light", "tree", "car"))
    assert evaluate_classifier(classifier, dataset).top1 == 1


def test_foreign_names_are_refused():
    dataset = make_dataset({"0.jpg": 0}, ("rose", "tulip", "daisy"))
    with pytest.raises(DataError, match="rose"):
        evaluate_classifier(FakeClassifier(("cat", "dog", "cow")), dataset)


def test_nameless_model_takes_the_order_and_says_so():
    dataset = make_dataset({"1.jpg": 1}, ("a", "b", "c"))
    result = evaluate_classifier(FakeClassifier(), dataset)
    assert result.top1 == 1
    assert "order" in result.notes[0]


def test_nameless_model_of_another_size_is_refused():
    dataset = make_dataset({"1.jpg": 0}, ("a",))
    with pytest.raises(DataError, match="1 classes in the data, 3 in the model"):
        evaluate_classifier(FakeClassifier(), dataset)


@pytest.mark.parametrize("names", [("0", "1", "2"), ("0", "2", "1")])
def test_numbers_are_outputs(names):
    alignment = align_labels(count_only((0, 1, 2), names), ("a", "b", "c"), 3)
    assert alignment.indices.tolist() == [int(name) for name in names]
    assert alignment.note == ""


def test_numbers_beyond_the_model_are_refused():
    with pytest.raises(DataError, match="class 3, 3 classes"):
        align_labels(count_only((3,), ("0", "1", "2", "3")), ("a", "b", "c"), 3)


@pytest.mark.parametrize("name", ["background", "Background", "???"])
def test_background_shifts_numbers_by_one(name):
    dataset = count_only((0, 1), ("0", "1"))
    alignment = align_labels(dataset, (name, "a", "b"), 3)
    assert alignment.indices.tolist() == [1, 2]
    assert "background" in alignment.note


def test_numbers_that_count_the_background_stay():
    dataset = count_only((1, 2), ("0", "1", "2"))
    assert align_labels(dataset, ("background", "a", "b"), 3).indices.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("counted", "top1", "num_notes"), [(True, 1, 0), (False, 1, 1)])
def test_answers_decide_whether_the_background_is_counted(counted, top1, num_notes):
    labels = ("background", "a", "b", "c")
    offset = 0 if counted else 1
    rows = {f"{1 + offset}.jpg": 1, f"{2 + offset}.jpg": 2}
    result = evaluate_classifier(FakeClassifier(labels, 4), make_dataset(rows, ("0", "1", "2")))
    assert (result.top1, len(result.notes)) == (top1, num_notes)


def test_imagenet_folders_are_in_the_order_of_the_classes():
    alignment = align_labels(count_only((0, 999), IMAGENET), ("background", *"a" * 1000), 1001)
    assert alignment.indices[[0, 999]].tolist() == [1, 1000]


def test_nothing_to_evaluate_on():
    with pytest.raises(DataError, match="no images"):
        evaluate_classifier(FakeClassifier(), make_dataset({}, ("a", "b", "c")))


def test_document_is_plain(tmp_path):
    dataset = make_dataset(
        {"1.jpg": 0}, ("a", "b", "c"), skipped=((Path("x.jpg"), "cut off"),), notes=("a note",)
    )
    document = evaluate_classifier(FakeClassifier(("a", "b", "c")), dataset).to_dict()
    assert document == {
        "top1": 0.0,
        "top5": 1.0,
        "samples": 1,
        "per_class": [{"label": "a", "samples": 1, "recall": 0.0}],
        "confusions": [{"label": "a", "predicted": "b", "count": 1}],
        "notes": ["a note"],
        "skipped": [{"file": "x.jpg", "reason": "cut off"}],
    }


def test_every_image_is_reported(float_model, write_folder):
    folder = write_folder({f"{name}/{i}.png": i for name in ("star", "cross") for i in range(3)})
    seen = []
    result = evaluate_classifier(
        ev.load(float_model),
        read_dataset(folder),
        progress=lambda stage, done, total: seen.append((done, total)),
    )
    assert seen == [(i + 1, 6) for i in range(6)]
    assert result.samples == 6


def test_collected_scores_are_those_of_single_calls(float_model, write_folder):
    folder = write_folder({f"star/{i}.png": i for i in range(3)})
    classifier, files = ev.load(float_model), sorted(folder.rglob("*.png"))
    scores = collect_scores(classifier, files)
    np.testing.assert_array_equal(scores, [classifier.scores(f) for f in files])
    assert scores.dtype == np.float32


def test_broken_image_is_named(float_model, write_folder):
    folder = write_folder({"star/0.png": 0})
    (folder / "star/1.png").write_text("no image")
    with pytest.raises(DataError, match=r"1\.png"):
        evaluate_classifier(ev.load(float_model), read_dataset(folder))
