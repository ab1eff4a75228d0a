from __future__ import annotations

import pytest

import edgevision as ev
from edgevision.errors import DataError, InvalidConfigError, MissingFileError


@pytest.fixture
def photos(write_folder):
    return write_folder({"a.png": 0, "b.png": 1, "deep/c.png": 2})


def test_a_folder_is_answered_as_its_files_are(float_model, photos):
    classifier = ev.load(float_model)
    answers = ev.predict(float_model, photos)
    names = ["a.png", "b.png", "deep/c.png"]
    assert [a.image for a in answers] == [photos / name for name in names]
    assert [a.answer for a in answers] == [classifier.predict(photos / name) for name in names]


def test_one_file_needs_no_list(float_model, photos):
    (alone,) = ev.predict(float_model, str(photos / "b.png"), top_k=2)
    assert alone.answer == ev.load(float_model).predict(photos / "b.png", top_k=2)
    assert len(alone.answer) == 2


def test_threshold_leaves_out_lower_scores(float_model, photos):
    (every,) = ev.predict(float_model, photos / "a.png")
    threshold = every.answer.predictions[1].score
    (best,) = ev.predict(float_model, photos / "a.png", threshold=threshold)
    assert best.answer.predictions == every.answer.predictions[:2]


def test_the_answer_is_the_commands_json(float_model, photos):
    (answer,) = ev.predict(float_model, [photos / "a.png"], top_k=1)
    document = answer.to_dict()
    assert set(document) == {"image", "predictions"}
    assert document["image"] == str(photos / "a.png")
    assert set(document["predictions"][0]) == {"label", "index", "score"}


def test_overrides_reach_the_contract(float_model, photos):
    (answer,) = ev.predict(float_model, photos / "a.png", labels=("a", "b", "c", "d"))
    assert answer.answer.top.label in {"a", "b", "c", "d"}


def test_what_is_assumed_is_told_once(onnx_model, float_model, photos):
    told = []
    ev.predict(float_model, photos, on_assumed=told.append)
    assert told == []
    ev.predict(onnx_model, photos, on_assumed=told.append, std=255)
    assert len(told) == 1
    assert "preprocessing.mean" in told[0]


def test_faults_are_named(float_model, photos):
    with pytest.raises(MissingFileError, match=r"none\.png"):
        ev.predict(float_model, photos / "none.png")
    with pytest.raises(InvalidConfigError, match="top_k=0"):
        ev.predict(float_model, photos, top_k=0)
    (photos / "b.png").write_bytes(b"noise")
    with pytest.raises(DataError, match=r"b\.png"):
        ev.predict(float_model, photos)
