"""``edgevision predict --source``: answers as the frames come; and pictures of answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevision.cli.terminal import Terminal

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource
    from edgevision.runtime.results import Answer
    from edgevision.runtime.stream import StreamAnswer

MASKS_FOLDER = "masks"
_NUM_TOLD = 5


def predict_stream(
    terminal: Terminal,
    model: Path,
    source: str,
    *,
    save: Path | None,
    max_frames: int | None,
    top_k: int | None,
    threshold: float | None,
    on_assumed: Callable[[tuple[str, ...]], None],
    **options: Any,
) -> None:
    """Answer frame after frame, telling each; Ctrl-C ends a camera's stream."""
    from edgevision.runtime.load import load
    from edgevision.runtime.stream import stream

    loaded = load(model, **options)
    if loaded.contract.assumed:
        on_assumed(loaded.contract.assumed)
    answers = stream(loaded, source, top_k=top_k, threshold=threshold, max_frames=max_frames)
    record = StreamRecord(source, keep=terminal.as_json)
    try:
        for answered in answers:
            record.add(answered)
            if save is not None:
                picture = save / f"{record.frames:06d}_{_name_file(answered.frame.name)}"
                save_picture(answered.frame.image, answered.result.answer, picture)
            if not (terminal.as_json or terminal.quiet):
                terminal.out.print(describe_answer(answered))
    except KeyboardInterrupt:
        terminal.note("stopped")
    document = record.to_dict()
    terminal.finish(document, lambda console: console.print(record.describe()))


class StreamRecord:
    """What was streamed.

    Args:
        source: Where the frames come from.
        keep: Whether to keep all answers; a camera may run for days.
    """

    def __init__(self, source: str, *, keep: bool) -> None:
        self.source = source
        self.frames = 0
        self._keep = keep
        self._answers: list[dict[str, Any]] = []
        self._start = self._end = 0.0

    @property
    def rate(self) -> float:
        """Frames per second from the first answer to the last; 0 for less than two."""
        passed = self._end - self._start
        return (self.frames - 1) / passed if passed > 0 else 0.0

    def add(self, answered: StreamAnswer) -> None:
        """Count a frame, now."""
        import time

        self._end = time.perf_counter()
        self._start = self._start or self._end
        self.frames += 1
        if self._keep:
            self._answers.append(answered.result.to_dict())

    def describe(self) -> str:
        """Tell in a line how many frames there were, and how fast where that can be told."""
        count = f"{self.frames} frame{'' if self.frames == 1 else 's'}"
        return f"{count}, {self.rate:.1f} frames per second" if self.rate else count

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the rate is ``None`` for less than two frames."""
        return {
            "source": self.source,
            "frames": self.frames,
            "frames_per_second": self.rate or None,
            "answers": self._answers,
        }


def describe_answer(answered: StreamAnswer) -> str:
    """Tell one frame's answer in a line."""
    document = answered.result.to_dict()
    if "areas" in document:
        told = [f"{a['label']} {a['share']:.0%}" for a in document["areas"]]
    else:
        told = [f"{a['label']} {a['score']:.2f}" for a in document["predictions"]]
    more = f" and {len(told) - _NUM_TOLD} more" if len(told) > _NUM_TOLD else ""
    what = (", ".join(told[:_NUM_TOLD]) or "nothing") + more
    return f"{document['image']}  {answered.frames_per_second:5.1f} fps  {what}"


def save_picture(image: ImageSource, answer: Answer, picture: Path) -> None:
    """Write the image with the answer drawn in; a mask also as class numbers, in ``masks/``."""
    from edgevision.runtime.draw import save_annotated, save_mask
    from edgevision.runtime.results import Segmentation

    save_annotated(image, answer, picture)
    if isinstance(answer, Segmentation):
        save_mask(answer, picture.parent / MASKS_FOLDER / picture.with_suffix(".png").name)


def _name_file(frame: Path) -> str:
    """Name the picture of a frame: JPEG, since a video has many.

    >>> _name_file(Path("photos/cat.png")), _name_file(Path("clip.mp4#12"))
    ('cat.jpg', 'clip.jpg')
    """
    return f"{frame.stem}.jpg"
