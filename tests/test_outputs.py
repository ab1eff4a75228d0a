from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgevision.errors import DataError, OutputError
from edgevision.outputs import atomic_path, check_writable, write_bytes, write_text


def test_replaces_the_old_file_at_once(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.tflite"
    write_text(target, "first")
    write_text(target, "second")
    assert target.read_text() == "second"
    assert [p.name for p in target.parent.iterdir()] == ["model.tflite"]


def test_temporary_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == tmp_path
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("kind", [DataError("broken image"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_no_rest(tmp_path: Path, kind: BaseException) -> None:
    target = tmp_path / "kept.txt"
    target.write_text("precious")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise kind

    with pytest.raises(type(kind)):
        fail()
    assert target.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_a_folder_is_written_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "data") as temporary:
        temporary.mkdir()
        (temporary / "a.txt").write_text("a")
    assert (tmp_path / "data" / "a.txt").read_text() == "a"


def test_full_disk_is_an_output_error(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic_path(tmp_path / "big.bin") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_fails_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    def read_missing() -> None:
        with atomic_path(tmp_path / "out.bin"):
            (tmp_path / "missing.bin").read_bytes()

    with pytest.raises(FileNotFoundError) as caught:
        read_missing()
    assert not isinstance(caught.value, OutputError)


def test_existing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="existing folder"):
        write_bytes(tmp_path, b"x")


def test_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="can not be written"):
        check_writable(tmp_path / "file" / "out.bin")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_missing_permission_is_refused(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="can not be written"):
        check_writable(locked / "out.bin")
