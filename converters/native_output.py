"""What TensorFlow and its converters print, kept for error messages instead of the terminal.

Much of it comes from native code, past Python's ``sys.stderr``, so the process's own output
streams are redirected while a block runs.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

_STREAMS = (1, 2)
_NOISY_LOGGERS = ("tensorflow", "tf2onnx", "absl", "jax", "h5py")
_lock = threading.RLock()


@dataclass(slots=True)
class CapturedOutput:
    """What a block printed; complete when the block has ended.

    Attributes:
        lines: Lines in the order written, standard output and error together.
    """

    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All lines as one text."""
        return "\n".join(self.lines)


@contextmanager
def capture_output() -> Iterator[CapturedOutput]:
    """Keep everything that the block prints, native code included, off the terminal.

    It acts on the whole process: lines that other threads print meanwhile are swallowed too. One
    thread at a time; nesting is fine.
    """
    captured = CapturedOutput()
    with _lock, ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_quiet_loggers())
        buffer = stack.enter_context(tempfile.TemporaryFile())
        stack.callback(_collect, buffer, captured)
        for stream in _STREAMS:
            stack.enter_context(_redirect(stream, buffer))
        yield captured


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Raise the level of chatty loggers: their handlers write to streams of their own."""
    levels = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _redirect(stream: int, buffer: BinaryIO) -> Iterator[None]:
    try:
        saved = os.dup(stream)
    except OSError:  # a service without this stream: nothing to keep clean
        yield
        return
    _flush()
    os.dup2(buffer.fileno(), stream)
    try:
        yield
    finally:
        _flush()
        os.dup2(saved, stream)
        os.close(saved)


def _flush() -> None:
    for file in (sys.stdout, sys.stderr):
        if file is not None and not file.closed:
            file.flush()


def _collect(buffer: BinaryIO, captured: CapturedOutput) -> None:
    buffer.seek(0)
    captured.lines += buffer.read().decode(errors="replace").splitlines()
