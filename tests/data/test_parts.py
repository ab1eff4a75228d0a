from __future__ import annotations

from pathlib import Path

import pytest

from edgevision.data.parts import find_lists, find_part_folders, name_part, pick_part, read_list
from edgevision.data.splits import split_indices
from edgevision.errors import DataError, InvalidConfigError
from edgevision.specs import Part


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("train", Part.TRAIN),
        ("instances_train2017", Part.TRAIN),
        ("Validation", Part.VAL),
        ("test-dev", Part.TEST),
        ("trainval", None),
        ("latest", None),
        ("train_test", None),
        ("", None),
    ],
)
def test_part_of_a_name(text: str, part: Part | None) -> None:
    assert name_part(text) is part


def test_lists_and_folders(tmp_path: Path) -> None:
    assert find_lists(tmp_path / "none") == find_part_folders(tmp_path / "none") == {}
    for name in ("train.txt", "VAL.txt", "trainval.txt", "cat_test.txt"):
        (tmp_path / name).touch()
    for name in ("Train", "valid", "tests"):
        (tmp_path / name).mkdir()
    assert find_lists(tmp_path) == {
        Part.TRAIN: tmp_path / "train.txt",
        Part.VAL: tmp_path / "VAL.txt",
    }
    folders = {Part.TRAIN: tmp_path / "Train", Part.VAL: tmp_path / "valid"}
    assert find_part_folders(tmp_path) == folders
    with pytest.raises(DataError, match=r"no part 'test' .*has train, val\)"):
        pick_part(folders, Part.TEST, tmp_path)


def test_list_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\r\n two 1 \r\none\r\n")
    assert read_list(file) == ["one", "two 1"]
    file.write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="can not be read"):
        read_list(file)


def test_split_depends_on_names_and_seed_alone() -> None:
    files = [Path(f"a/{i}.jpg") for i in range(40)]
    train, val = split_indices(files, 0.25, 3)
    assert (len(train), len(val)) == (30, 10)
    assert sorted(train + val) == list(range(40))
    moved = [Path("b") / file.name for file in files]
    assert split_indices(moved, 0.25, 3) == (train, val)
    more = [*files, Path("a/new.jpg")]
    assert len(set(split_indices(more, 0.25, 3)[1]) ^ set(val)) <= 2
    for fraction in (0.001, 0.999):
        assert min(map(len, split_indices(files[:2], fraction, 0))) == 1
    with pytest.raises(DataError, match="1 images"):
        split_indices(files[:1], 0.5, 0)
    with pytest.raises(InvalidConfigError, match="val_fraction=1"):
        split_indices(files, 1, 0)
