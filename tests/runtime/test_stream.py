from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import edgevision as ev
from edgevision.errors import (
    BackendUnavailableError,
    DataError,
    InvalidConfigError,
    MissingFileError,
)
from edgevision.runtime.frames import open_frames
from edgevision.runtime.stream import stream

RED = (255, 0, 0)


class FakeCapture:
    """Three frames, each red and a little brighter, blue first as OpenCV gives them."""

    opened: ClassVar[list[FakeCapture]] = []

    def __init__(self, source):
        self.source, self.place, self.released = source, -1, False
        self.opened.append(self)

    def isOpened(self):  # noqa: N802 - the name of OpenCV
        return self.source not in ("broken.mp4", 7)

    def grab(self):
        self.place += 1
        return self.place < 3

    def retrieve(self):
        frame = np.zeros((6, 8, 3), np.uint8)
        frame[..., 2] = 100 + self.place
        return True, frame

    def release(self):
        self.released = True


@pytest.fixture
def opencv(monkeypatch):
    FakeCapture.opened = []
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=FakeCapture))
    return FakeCapture.opened


def test_folder_needs_no_opencv(float_model, write_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    folder = write_folder({"a.png": 0, "deep/b.png": 1})
    classifier = ev.load(float_model)
    answers = list(stream(classifier, folder, top_k=1))
    assert [a.result.image for a in answers] == [folder / "a.png", folder / "deep/b.png"]
    assert answers[1].result.answer == classifier.predict(folder / "deep/b.png", 1)
    assert answers[0].frames_per_second == 0
    assert answers[1].frames_per_second > 0
    assert [f.name.name for f in open_frames(folder / "a.png")] == ["a.png"]


@pytest.mark.parametrize(("source", "name"), [("clip.mp4", "clip.mp4"), ("0", "camera 0")])
def test_frames_are_rgb_and_numbered(opencv, tmp_path, monkeypatch, source, name):
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(b"video")
    frames = list(open_frames(source))
    assert [str(f.name) for f in frames] == [f"{name}#{i}" for i in (1, 2, 3)]
    assert [f.image[0, 0].tolist() for f in frames] == [[100 + i, 0, 0] for i in range(3)]
    assert opencv[0].source == (0 if source == "0" else "clip.mp4")
    assert opencv[0].released


def test_stopping_early_frees_the_camera(opencv, float_model):
    answers = list(stream(ev.load(float_model), "0", max_frames=2))
    assert len(answers) == 2
    frames = open_frames("1")
    next(frames)
    frames.close()
    assert opencv[1].released


def test_answers_are_those_of_single_calls(opencv, float_model):
    classifier = ev.load(float_model)
    for answered in stream(classifier, "0", threshold=0.2):
        expected = classifier.predict(answered.frame.image, threshold=0.2)
        assert answered.result.answer == expected


@pytest.mark.parametrize("source", ["broken.mp4", "7"])
def test_unreadable_sources_are_told_at_once(opencv, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    Path("broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="no frame"):
        open_frames(source)
    assert opencv[0].released


def test_missing_parts_are_named(tmp_path, monkeypatch, float_model):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(BackendUnavailableError, match="opencv-python-headless"):
        open_frames("0")
    with pytest.raises(MissingFileError, match="a camera is a number"):
        open_frames(tmp_path / "none.mp4")
    with pytest.raises(InvalidConfigError, match="max_frames=0"):
        stream(ev.load(float_model), tmp_path, max_frames=0)
