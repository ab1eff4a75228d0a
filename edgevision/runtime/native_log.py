"""TensorFlow Lite's start-up notes, kept away from a person's terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edgevision.streams import drop_stderr_lines

_NOISE = (
    b"Created TensorFlow Lite XNNPACK delegate for CPU",
    b"Initialized TensorFlow Lite runtime",
)
_announced = threading.Event()


@contextmanager
def hide_announcements() -> Iterator[None]:
    """Drop the interpreter's start-up notes that the block causes; pass all other lines on.

    The notes appear once in a process, so the stream is touched until they have been seen and
    never again.
    """
    if _announced.is_set():
        yield
        return
    with drop_stderr_lines(_NOISE, on_dropped=_announced.set):
        yield
