"""A model that answers frame after frame, and how fast it is."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from edgevision.errors import InvalidConfigError
from edgevision.runtime.frames import Frame, open_frames
from edgevision.runtime.predict import choose_limits
from edgevision.runtime.results import ImageAnswer

if TYPE_CHECKING:
    from edgevision.runtime.predict import Model

_RECENT = 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamAnswer:
    """The answer to one frame.

    Attributes:
        frame: The frame, for drawing on it.
        result: Its name and the answer.
        frames_per_second: Over the last frames, at most 30; decoding, resizing and the work of
            whoever takes the answers included. 0 for the first one.
    """

    frame: Frame
    result: ImageAnswer
    frames_per_second: float


class RateMeter:
    """Frames per second over the last frames.

    >>> meter = RateMeter()
    >>> [round(meter.tick(now), 6) for now in (10.0, 10.5, 11.0)]
    [0.0, 2.0, 2.0]
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RECENT + 1)

    def tick(self, now: float) -> float:
        """Count a frame that is done at ``now``, in seconds, and return the rate."""
        self._times.append(now)
        passed = now - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else 0.0


def stream(
    model: Model,
    source: str | os.PathLike[str],
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    max_frames: int | None = None,
) -> Iterator[StreamAnswer]:
    """Answer the images of a folder, the frames of a video, or those of a camera as they come.

    Nothing is read ahead: the answer to a camera's frame comes before the next frame is taken.

    Args:
        model: What ``edgevision.load`` returned.
        source: A folder, an image or video file, or the number of a camera.
        top_k: As for ``edgevision.predict``.
        threshold: As for ``edgevision.predict``.
        max_frames: Stop after so many; ``None`` for all.

    Raises:
        MissingFileError: There is no such file or folder.
        DataError: A folder without images, a broken image, or a video or camera without frames.
        InvalidConfigError: ``top_k``, ``threshold`` or ``max_frames`` is out of range, or a
            segmenter is given one of the first two.
        BackendUnavailableError: A video or camera is named, and OpenCV is not installed.
    """
    if max_frames is not None and max_frames < 1:
        raise InvalidConfigError(
            "max_frames must be at least 1", received=f"max_frames={max_frames}"
        )
    limits = choose_limits(model.contract.task, top_k=top_k, threshold=threshold)
    frames = islice(open_frames(source), max_frames)
    meter = RateMeter()

    def answer(frame: Frame) -> StreamAnswer:
        result = ImageAnswer(image=frame.name, answer=model.predict(frame.image, **limits))
        rate = meter.tick(time.perf_counter())
        return StreamAnswer(frame=frame, result=result, frames_per_second=rate)

    return map(answer, frames)
