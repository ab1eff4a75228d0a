"""The process's native error stream: dropping lines that are known to say nothing.

Native libraries write there past Python's ``sys.stderr``. Lines that are not known pass through.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

_STDERR = 2
_lock = threading.RLock()


@contextmanager
def drop_stderr_lines(
    noise: Sequence[bytes], *, on_dropped: Callable[[], None] | None = None
) -> Iterator[None]:
    """Drop lines that hold one of ``noise`` from what the block writes to the error stream.

    It acts on the whole process: lines of other threads are delayed until the block ends, not
    lost. One thread at a time; nesting is fine.

    Args:
        noise: Parts of the lines to drop.
        on_dropped: Called when the block ends if a line was dropped.
    """
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
            lines = buffer.read().splitlines(keepends=True)
            kept = [line for line in lines if not any(part in line for part in noise)]
            if kept:
                os.write(_STDERR, b"".join(kept))
            if on_dropped is not None and len(kept) < len(lines):
                on_dropped()


def _open_buffer() -> BinaryIO:
    """Open a place in memory, because a device's file system may be full or read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgevision-stderr"), "w+b")
    return tempfile.TemporaryFile()  # the caller closes it


def _flush() -> None:
    if sys.stderr is not None and not sys.stderr.closed:
        sys.stderr.flush()
