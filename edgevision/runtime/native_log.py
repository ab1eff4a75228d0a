"""What native libraries write to the process's error stream, kept away from a person's terminal.

TensorFlow Lite announces its CPU delegate there, past Python's ``sys.stderr``. Only lines that are
known to say nothing are dropped; everything else is passed on.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_STDERR = 2
_NOISE = (
    b"Created TensorFlow Lite XNNPACK delegate for CPU",
    b"Initialized TensorFlow Lite runtime",
)
_lock = threading.Lock()
_announced = threading.Event()


@contextmanager
def hide_announcements() -> Iterator[None]:
    """Drop the interpreter's start-up notes that the block causes; pass all other lines on.

    The notes appear once in a process, so the stream is touched until they have been seen and
    never again. One thread at a time; lines of other threads are delayed, not lost.
    """
    if _announced.is_set():
        yield
        return
    try:
        saved = os.dup(_STDERR)
    except OSError:  # a service without an error stream: nothing to keep clean
        yield
        return
    with _lock, _open_buffer() as buffer:
        _flush()
        os.dup2(buffer.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
            buffer.seek(0)
            _pass_on(buffer.read().splitlines(keepends=True))


def _open_buffer() -> BinaryIO:
    """Open a place in memory, because a device's file system may be full or read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgevision-stderr"), "w+b")
    return tempfile.TemporaryFile()  # the caller closes it


def _flush() -> None:
    if sys.stderr is not None and not sys.stderr.closed:
        sys.stderr.flush()


def _pass_on(lines: list[bytes]) -> None:
    kept = [line for line in lines if not any(noise in line for noise in _NOISE)]
    if len(kept) < len(lines):
        _announced.set()
    if kept:
        os.write(_STDERR, b"".join(kept))
