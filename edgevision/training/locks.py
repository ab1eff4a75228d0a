"""One writer per folder, held by the operating system: a killed process leaves no lock behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from edgevision.errors import OutputError

LOCK_NAME = ".lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold an existing folder for this process.

    Raises:
        OutputError: Another process holds it, or it can not be written.
    """
    path = folder / LOCK_NAME
    try:
        file = path.open("a+")
    except OSError as error:
        raise OutputError(
            "the run folder can not be written",
            received=f"{folder}: {error.strerror}",
            remedy="choose another folder",
        ) from error
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise OutputError(
                "another training run is writing into this folder",
                received=folder,
                remedy="wait for it, or choose another folder",
            ) from error
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


if sys.platform == "win32":  # pragma: no cover

    def _lock(file: IO[str]) -> None:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:

    def _lock(file: IO[str]) -> None:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us may have removed the file between our open and our lock: then we
        # hold a file that nobody else will see.
        if os.fstat(file.fileno()).st_nlink == 0:
            raise BlockingIOError(f"{file.name} was just released")
