from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.data.folders import ImageDataset, check_dataset, check_images, read_dataset
from edgevision.errors import DataError, InvalidConfigError, MissingFileError


def add_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(folder / name)


def write_csv(folder: Path, text: str, encoding: str = "utf-8") -> None:
    (folder / "labels.csv").write_bytes(text.encode(encoding))


def test_class_folders_are_sorted_and_read_at_any_depth(tmp_path: Path) -> None:
    add_images(tmp_path, "rose/2.jpg", "rose/1.PNG", "daisy/deep/er/1.jpg", ".git/x.jpg")
    dataset = read_dataset(tmp_path)
    assert dataset.labels == ("daisy", "rose")
    assert [f.relative_to(tmp_path).as_posix() for f in dataset.files] == [
        "daisy/deep/er/1.jpg",
        "rose/1.PNG",
        "rose/2.jpg",
    ]
    assert dataset.targets == (0, 1, 1)
    assert dataset.counts == (1, 2)
    assert len(dataset) == 3
    assert not dataset.notes


def test_model_labels_fix_the_order(tmp_path: Path) -> None:
    add_images(tmp_path, "Traffic_Light/1.jpg", "car/1.jpg")
    dataset = read_dataset(tmp_path, labels=["car", "bus", "traffic light"])
    assert dataset.labels == ("car", "bus", "traffic light")
    assert sorted(dataset.targets) == [0, 2]


def test_numeric_folders_are_indices_of_model_labels(tmp_path: Path) -> None:
    add_images(tmp_path, "0/1.jpg", "10/1.jpg", "2/1.jpg")
    names = [f"class {i}" for i in range(11)]
    assert read_dataset(tmp_path, labels=names).targets == (0, 10, 2)
    assert read_dataset(tmp_path).labels == ("0", "10", "2")


def test_unknown_labels_are_listed(tmp_path: Path) -> None:
    add_images(tmp_path, "car/1.jpg", "tram/1.jpg", "5/1.jpg")
    with pytest.raises(DataError, match=r"2 of 3 labels .*5, tram") as caught:
        read_dataset(tmp_path, labels=["car", "bus"])
    assert "the model has car, bus" in str(caught.value)


def test_ambiguous_model_label_is_refused(tmp_path: Path) -> None:
    add_images(tmp_path, "crane/1.jpg")
    with pytest.raises(DataError, match="more than once"):
        read_dataset(tmp_path, labels=["crane", "crane"])
    assert read_dataset(tmp_path, labels=["Crane", "crane"]).targets == (1,)


def test_empty_and_foreign_folders_are_told(tmp_path: Path) -> None:
    add_images(tmp_path, "a/1.jpg", "loose.jpg")
    (tmp_path / "b").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").touch()
    dataset = read_dataset(tmp_path)
    assert dataset.labels == ("a", "b")
    assert dataset.counts == (1, 0)
    assert len(dataset.notes) == 3


def test_folders_that_hold_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_dataset(tmp_path / "none")
    with pytest.raises(DataError, match="no images"):
        read_dataset(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="no images in the class folders"):
        read_dataset(tmp_path)
    flat = tmp_path / "a"
    add_images(flat, "1.jpg")
    with pytest.raises(DataError, match=r"no labels .*1 images.*labels\.csv"):
        read_dataset(flat)
    with pytest.raises(DataError, match="name its folder"):
        read_dataset(flat / "1.jpg")


def test_parent_of_train_and_val_is_refused(tmp_path: Path) -> None:
    add_images(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    with pytest.raises(DataError, match=r"name one part, such as .*train"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path / "train").labels == ("a",)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_names(tmp_path: Path, newline: str, encoding: str, delimiter: str) -> None:
    add_images(tmp_path, "x 1.jpg", "sub/ü.jpg", "3.jpg", "unlisted.jpg")
    lines = ["File,width,Label", '"x 1.jpg",4,rose', "sub\\ü.jpg,4, daisy ", "", "3.jpg,4,rose", ""]
    write_csv(tmp_path, newline.join(lines).replace(",", delimiter), encoding)
    dataset = read_dataset(tmp_path)
    assert dataset.labels == ("daisy", "rose")
    assert dataset.targets == (1, 0, 1)
    assert dataset.files[1] == tmp_path / "sub/ü.jpg"
    assert dataset.notes == ("images that labels.csv does not list, left out: 1",)
    assert read_dataset(tmp_path, labels=["rose", "tulip", "daisy"]).targets == (0, 2, 0)


def test_csv_of_indices(tmp_path: Path) -> None:
    add_images(tmp_path, "1.jpg", "2.jpg")
    write_csv(tmp_path, "file,label\n1.jpg,3\n2.jpg,0\n")
    dataset = read_dataset(tmp_path)
    assert dataset.labels == ("0", "1", "2", "3")
    assert dataset.targets == (3, 0)
    assert read_dataset(tmp_path, labels=list("abcd")).targets == (3, 0)
    # Names win over indices: these digits are classes.
    assert read_dataset(tmp_path, labels=["3", "0"]).targets == (0, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the columns"),
        ("name,label\n1.jpg,0\n", "needs the columns file and label .*name,label"),
        ("file,label\n", "lists no images"),
        ("file,label\n1.jpg\n", "line 2"),
        ("file,label\n1.jpg,\n", "line 2"),
        ("file,label\n1.jpg,0\n\nnone.jpg,1\n", r"names 1 files .*line 4: .*none\.jpg"),
        ("file,label\n1.jpg,-1\n", "line 2: -1"),
        ("file,label\n1.jpg,2\n", "line 2: 2"),
        ("file,label\n1.jpg,a\n1.jpg,b\n", "lines 2 and 3"),
        ("file,label\n1.jpg,zebra\n", "zebra"),
        ('file,label\n1.jpg,"a\x00\n', "labels"),
    ],
)
def test_csv_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    add_images(tmp_path, "1.jpg")
    write_csv(tmp_path, text)
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path, labels=["a", "b"])


def test_numbers_that_count_no_classes_are_refused(tmp_path: Path) -> None:
    add_images(tmp_path, "1.jpg", "2.jpg")
    write_csv(tmp_path, "file,label\n1.jpg,0\n2.jpg,20261122\n")
    with pytest.raises(DataError, match="line 3: 20261122"):
        read_dataset(tmp_path)
    write_csv(tmp_path, "file,label\n1.jpg,rose\n2.jpg,20261122\n")
    assert read_dataset(tmp_path).labels == ("20261122", "rose")


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    write_csv(tmp_path, "file,label\nü.jpg,0\n", "latin-1")
    with pytest.raises(DataError, match="UTF-8"):
        read_dataset(tmp_path)


def test_csv_missing_and_repeated_files_are_told(tmp_path: Path) -> None:
    add_images(tmp_path, "1.jpg")
    write_csv(tmp_path, "file,label\n1.jpg,a\n1.jpg,a\nnone.jpg,b\n")
    dataset = read_dataset(tmp_path, skip_broken=True)
    assert len(dataset) == 1
    assert dataset.skipped == ((tmp_path / "none.jpg", "line 4 of labels.csv: no such file"),)
    assert dataset.notes == ("repeated lines of labels.csv, left out: 1",)


def test_broken_images_are_named_or_skipped(tmp_path: Path) -> None:
    add_images(tmp_path, *(f"a/{i}.jpg" for i in range(5)))
    for name in ("a/1.jpg", "a/3.jpg"):
        (tmp_path / name).write_text("no image")
    dataset = read_dataset(tmp_path)
    assert len(dataset) == 5
    seen: list[tuple[str, int, int]] = []
    broken = check_images(dataset.files, progress=lambda *step: seen.append(step))
    assert [file.name for file, _ in broken] == ["1.jpg", "3.jpg"]
    assert seen[-1] == ("checking images", 5, 5)
    with pytest.raises(DataError, match=r"2 of 5 images .*1\.jpg.*3\.jpg.*--skip-broken"):
        check_dataset(dataset)
    kept = read_dataset(tmp_path, skip_broken=True)
    assert [f.name for f in kept.files] == ["0.jpg", "2.jpg", "4.jpg"]
    assert [f.name for f, _ in kept.skipped] == ["1.jpg", "3.jpg"]


def test_all_broken_is_an_error(tmp_path: Path) -> None:
    add_images(tmp_path, "a/1.jpg")
    (tmp_path / "a/1.jpg").write_text("no image")
    with pytest.raises(DataError, match="no image can be read"):
        read_dataset(tmp_path, skip_broken=True)


def make_dataset(*counts: int) -> ImageDataset:
    pairs = [(Path(f"{t}/{i}.jpg"), t) for t, count in enumerate(counts) for i in range(count)]
    return ImageDataset(
        files=tuple(f for f, _ in pairs),
        targets=tuple(t for _, t in pairs),
        labels=tuple("abcdef"[: len(counts)]),
    )


def test_split_is_stratified_and_complete() -> None:
    dataset = make_dataset(100, 10, 2, 1)
    train, val = dataset.split(0.2, 0)
    assert val.counts == (20, 2, 1, 0)
    assert train.counts == (80, 8, 1, 1)
    assert sorted(train.files + val.files) == sorted(dataset.files)
    assert train.notes == ("one image only, used for training: d",)
    assert min(dataset.split(0.999, 0)[0].counts) == 1


def test_split_depends_on_seed_and_hardly_on_other_files() -> None:
    before = set(make_dataset(100).split(0.2, 3)[1].files)
    assert before == set(make_dataset(100).split(0.2, 3)[1].files)
    assert before != set(make_dataset(100).split(0.2, 4)[1].files)
    after = set(make_dataset(105).split(0.2, 3)[1].files)
    assert len(before - after) <= 5


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_split_share_is_checked(fraction: float) -> None:
    with pytest.raises(InvalidConfigError):
        make_dataset(4).split(fraction, 0)


def test_dataset_is_validated() -> None:
    with pytest.raises(InvalidConfigError, match="1 files, 0 targets"):
        ImageDataset(files=(Path("a"),), targets=(), labels=("a",))
    with pytest.raises(InvalidConfigError, match="1 to 1, 1 labels"):
        ImageDataset(files=(Path("a"),), targets=(1,), labels=("a",))


def test_real_folders(real_data: Path) -> None:
    flowers = read_dataset(real_data / "flowers/val")
    assert flowers.counts == (30,) * 5
    imagenet = read_dataset(real_data / "imagenet/val")
    assert len(imagenet) == 300
    assert max(imagenet.targets) == len(imagenet.labels) - 1
    assert np.all([f.is_file() for f in imagenet.files])
