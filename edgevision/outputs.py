"""Writing results to a temporary name first, then renaming: nothing is ever half written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgevision.errors import OutputError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    The block may write a file or a folder there. When it fails, the temporary is removed and
    whatever stood at ``path`` is untouched.

    Args:
        path: Where the result goes; missing parent folders are created.

    Raises:
        OutputError: The place can not be written (permission, full disk, a folder in the way).
    """
    target = Path(path)
    # The suffix stays last: writers choose their format by it.
    temporary = target.with_name(f".{target.stem}-{os.urandom(4).hex()}{target.suffix}")
    check_writable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        _remove(temporary)
        if isinstance(error, OutputError) or not _about_writing(error, temporary):
            raise
        raise OutputError(
            "the output can not be written",
            received=f"{target}: {error.strerror or error}",
            remedy="free some space or choose another place",
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def check_writable(path: str | Path) -> None:
    """Fail before the work starts when ``path`` can not become an output file.

    Raises:
        OutputError: ``path`` is a folder, or its nearest existing parent is not a writable folder.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputError(
            "the output is an existing folder", received=target, remedy="name a file inside it"
        )
    parent = target.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            "the output folder can not be written", received=parent, remedy="choose another folder"
        )


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file, or leave the old one untouched.

    Raises:
        OutputError: The place can not be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole UTF-8 text file, or leave the old one untouched.

    Raises:
        OutputError: The place can not be written.
    """
    write_bytes(path, text.encode())


def _about_writing(error: OSError, temporary: Path) -> bool:
    """Whether ``error`` comes from writing (not from reading some input inside the block)."""
    if error.errno in _SPACE_ERRNOS:
        return True
    names = {str(error.filename), str(error.filename2)}
    return any(str(temporary) in name or str(temporary.parent) == name for name in names)


_SPACE_ERRNOS = (28, 30, 122)  # ENOSPC, EROFS, EDQUOT


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
