"""The process's native streams: reading them, and dropping lines that are known to say nothing.

Native libraries write there past Python's ``sys.stderr``. Lines that are not known pass through.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

_STDOUT, _STDERR = 1, 2
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
    saved = _duplicate(_STDERR)
    if saved is None:  # nothing to keep clean
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


class NativeText:
    """What ``read_native_output`` read; ``text`` is empty until its block has ended."""

    text: str = ""


@contextmanager
def read_native_output() -> Iterator[NativeText]:
    """Keep what the block writes to both output streams from the terminal, to be read afterwards.

    Some libraries print their log, which would spoil a JSON document on standard output. It acts
    on the whole process, one thread at a time, and works where a stream is missing too.

    Yields:
        An object whose ``text`` holds the lines once the block has ended, also by an exception.
    """
    said = NativeText()
    with _lock, _open_buffer() as buffer:
        _flush()
        saved = [(stream, _duplicate(stream)) for stream in (_STDOUT, _STDERR)]
        for stream, _ in saved:
            os.dup2(buffer.fileno(), stream)
        try:
            yield said
        finally:
            _flush()
            _flush_native()
            for stream, copy in saved:
                if copy is None:
                    os.close(stream)
                    continue
                os.dup2(copy, stream)
                os.close(copy)
            buffer.seek(0)
            said.text = buffer.read().decode(errors="replace")


def _duplicate(stream: int) -> int | None:
    try:
        return os.dup(stream)
    except OSError:  # a service without this stream
        return None


def _flush_native() -> None:
    """Write out what C code has printed: in a pipe it would stay in memory until the end."""
    with suppress(OSError, AttributeError, TypeError):  # no such library on this system
        ctypes.CDLL(None).fflush(None)


@cache
def mute_exit() -> None:
    """Keep from the terminal what native libraries write while the process ends.

    What Python writes then, a traceback of another exit handler for one, still gets there.
    """
    atexit.register(_mute)


def _mute() -> None:
    _flush()
    saved = _duplicate(_STDERR)
    if saved is None:
        return
    sys.stderr = open(saved, "w", closefd=False)  # noqa: SIM115 - stays open to the end
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), _STDERR)


def _open_buffer() -> BinaryIO:
    """Open a place in memory, because a device's file system may be full or read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edgevision-stderr"), "w+b")
    return tempfile.TemporaryFile()  # the caller closes it


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
