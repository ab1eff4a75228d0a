"""The zip archive of associated files behind a ``.tflite`` model, and other zips around models.

TFLite Metadata keeps label files in an ordinary zip that is appended to the flatbuffer; entries are
stored uncompressed, which MediaPipe insists on.
"""

from __future__ import annotations

import errno
import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from edgevision.errors import InvalidModelError

_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
# A label file has a few kilobytes: what unpacks to more than this, alone or together, is an attack
# or an accident.
_MAX_BYTES = 64 << 20
_MAX_FILES = 256
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)
# No file at all, a folder (a SavedModel), or an end record that points before the beginning.
_NO_ARCHIVE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL})


def read_files(source: str | Path | bytes) -> dict[str, bytes]:
    """Read the files of an archive that stands alone or behind a model.

    Args:
        source: A path, or the bytes of a whole file.

    Returns:
        Name to content; empty where there is no archive.

    Raises:
        InvalidModelError: The archive is damaged, absurdly large, or can not be read.
    """
    archive = _open_archive(source)
    if archive is None:
        return {}
    with archive:
        return _read_entries(archive)


def read_file(path: str | Path, name: str, *, max_bytes: int = _MAX_BYTES) -> bytes | None:
    """Read one file of an archive; ``None`` where there is no such archive or file.

    Args:
        path: The archive.
        name: The file in it.
        max_bytes: What it may unpack to.

    Raises:
        InvalidModelError: It is damaged, absurdly large, or can not be read.
    """
    archive = _open_archive(path)
    if archive is None:
        return None
    with archive:
        if name not in archive.namelist():
            return None
        return _read_entry(archive, archive.getinfo(name), max_bytes)


def split_files(model: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Separate a model from the archive behind it.

    Returns:
        The model alone, and the files (empty where there is no archive).

    Raises:
        InvalidModelError: The archive is damaged or absurdly large.
    """
    archive = _open_archive(model)
    if archive is None:
        return model, {}
    with archive:
        starts = [entry.header_offset for entry in archive.infolist()]
        start = min([*starts, archive.start_dir])
        return model[:start], _read_entries(archive)


def append_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Put files behind a model, in place of an archive that is already there.

    >>> two = append_files(append_files(b"model", {"a.txt": b"1"}), {"b.txt": b"2"})
    >>> split_files(two)
    (b'model', {'b.txt': b'2'})
    """
    alone, _ = split_files(model)
    if not files:
        return alone
    stream = io.BytesIO()
    stream.write(alone)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            # A fixed date: the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name, _FIRST_DATE), content)
    return stream.getvalue()


def replace_file(source: Path, name: str, content: bytes, output: Path) -> None:
    """Copy an archive with one of its files added or replaced.

    Raises:
        InvalidModelError: The source is not an archive, or can not be read.
    """
    archive = _open_archive(source)
    if archive is None:
        raise InvalidModelError(
            "this is not a .keras archive", received=source, remedy="save the model again"
        )
    with archive, zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            if entry.filename != name:
                with archive.open(entry) as old, copy.open(entry, "w", force_zip64=True) as new:
                    shutil.copyfileobj(old, new, 1 << 20)
        copy.writestr(zipfile.ZipInfo(name, _FIRST_DATE), content)


def _open_archive(source: str | Path | bytes) -> zipfile.ZipFile | None:
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        return zipfile.ZipFile(file)
    except OSError as error:
        if error.errno in _NO_ARCHIVE:
            return None
        raise InvalidModelError(
            "the model file can not be read",
            received=f"{source!s}: {error.strerror or error}",
            remedy="check its permissions and the disk",
        ) from error
    except _BROKEN:
        # Weights may look like the end of a zip; a model without one is the usual case.
        return None


def _read_entries(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    if len(entries) > _MAX_FILES:
        raise _oversized(f"{len(entries)} files")
    num_bytes = sum(entry.file_size for entry in entries)
    if num_bytes > _MAX_BYTES:
        raise _oversized(f"{num_bytes} bytes")
    return {entry.filename: _read_entry(archive, entry, _MAX_BYTES) for entry in entries}


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int) -> bytes:
    if entry.file_size > max_bytes:
        raise _oversized(f"{entry.filename}: {entry.file_size} bytes")
    try:
        return archive.read(entry)
    except _BROKEN as error:
        raise InvalidModelError(
            "the files packed with the model are damaged",
            received=f"{entry.filename}: {error}",
            remedy="copy or export it again",
        ) from error


def _oversized(received: str) -> InvalidModelError:
    return InvalidModelError("the files packed with the model are far too large", received=received)
