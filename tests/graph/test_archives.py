from __future__ import annotations

import errno
import struct
import zipfile
from pathlib import Path

import pytest

from edgevision.errors import InvalidModelError
from edgevision.graph.archives import append_files, read_file, read_files, replace_file, split_files


def test_files_are_stored_uncompressed_and_the_same_every_time() -> None:
    model = append_files(b"model", {"a": b"x" * 1000})
    assert b"x" * 1000 in model
    assert model == append_files(b"model", {"a": b"x" * 1000})


def test_a_file_without_archive_has_no_files(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"model")
    assert read_files(path) == {}
    assert read_file(path, "a") is None
    assert split_files(b"PK\x05\x06 but no zip") == (b"PK\x05\x06 but no zip", {})


def test_no_file_a_folder_and_a_wild_end_record_are_no_archives(tmp_path: Path) -> None:
    wild = tmp_path / "wild"
    # The end record: one entry, in a directory of 1000 bytes that would begin before the file.
    wild.write_bytes(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 1000, 0, 0))
    for path in (wild, tmp_path, tmp_path / "none", wild / "below"):
        assert read_files(path) == {}
        assert read_file(path, "a") is None


def test_a_file_that_may_not_be_read_is_told_and_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    for read in (read_files, lambda path: read_file(path, "a")):
        with pytest.raises(InvalidModelError, match=r"model\.keras: Permission denied"):
            read(tmp_path / "model.keras")


def test_oversized_archives_are_refused() -> None:
    many = append_files(b"", {f"{i}": b"" for i in range(257)})
    with pytest.raises(InvalidModelError, match="far too large"):
        read_files(many)


def test_files_that_unpack_to_far_more_than_they_are_stay_packed(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.keras"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(40 << 20))
        archive.writestr("b", bytes(40 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(InvalidModelError, match=f"far too large.*{80 << 20}"):
        read_files(bomb)
    with pytest.raises(InvalidModelError, match="far too large"):
        read_file(bomb, "a", max_bytes=1 << 20)


def test_replacing_keeps_the_other_files(tmp_path: Path) -> None:
    source, output = tmp_path / "a.keras", tmp_path / "b.keras"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}" * 100)
        archive.writestr("edgevision.json", "old")
    replace_file(source, "edgevision.json", b"new", output)
    assert read_files(output) == {"config.json": b"{}" * 100, "edgevision.json": b"new"}
    assert read_file(output, "edgevision.json") == b"new"
    source.write_bytes(b"no zip")
    with pytest.raises(InvalidModelError, match=r"\.keras archive"):
        replace_file(source, "edgevision.json", b"new", output)
