"""Frames from a folder, a video or a camera, one after another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgevision.data.images import SUFFIXES, list_images
from edgevision.errors import BackendUnavailableError, DataError, MissingFileError

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        name: The file; of a video or camera its name and the number of the frame, from 1.
        image: A path, or (H, W, 3) uint8 RGB.
    """

    name: Path
    image: ImageSource


def open_frames(source: str | os.PathLike[str]) -> Iterator[Frame]:
    """Yield the images of a folder, the frames of a video, or those of a camera as they come.

    Videos and cameras need OpenCV.

    Args:
        source: A folder or image file; a video file; or the number of a camera, ``"0"`` the first.

    Raises:
        MissingFileError: There is no such file or folder.
        DataError: A folder without images, or a video or camera that can not be opened.
        BackendUnavailableError: OpenCV is not installed.
    """
    text = os.fspath(source)
    if text.isascii() and text.isdigit():
        return _read_video(int(text), f"camera {text}")
    path = Path(text)
    if not path.exists():
        raise MissingFileError(
            "there is no such folder, video or image",
            received=path,
            remedy="check the path; a camera is a number, the first is 0",
        )
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        files = list_images(path) if path.is_dir() else [path]
        return (Frame(file, file) for file in files)
    return _read_video(str(path), path.name)


def _read_video(source: str | int, name: str) -> Iterator[Frame]:
    """Open at once, so that what is wrong is told before the first frame is asked for."""
    opencv = _import_opencv()
    capture = opencv.VideoCapture(source)
    if not capture.isOpened() or not capture.grab():
        capture.release()
        raise DataError(
            "no frame can be read from this video or camera",
            received=name,
            remedy="check that another program can play it",
        )
    return _iterate_video(capture, name)


def _iterate_video(capture: Any, name: str) -> Iterator[Frame]:
    """Yield the frame that was grabbed, and those that follow."""
    try:
        for number in count(1):
            found, frame = capture.retrieve()
            if not found:
                return
            # OpenCV has blue first.
            yield Frame(Path(f"{name}#{number}"), np.ascontiguousarray(frame[:, :, ::-1]))
            if not capture.grab():
                return
    finally:
        capture.release()  # also where the reader stops early


def _import_opencv() -> Any:
    # Read at import; otherwise a missing camera is told three times over.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        return import_module("cv2")
    except ImportError as error:
        raise BackendUnavailableError(
            "reading videos and cameras needs OpenCV (opencv-python-headless), which is not "
            "installed",
            extra="video",
        ) from error
