from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotated import add_image, add_list, add_voc, describe_object

from edgevision.data.boxes import list_box_parts, read_boxes
from edgevision.errors import DataError

CAT = describe_object("cat", (10, 5, 30, 25))
DOG = describe_object("dog", (1, 2, 20.5, 30), difficult=1)


def test_boxes_are_taken_as_they_are_written(tmp_path: Path) -> None:
    add_voc(tmp_path, "b", DOG, CAT)
    add_voc(tmp_path, "a")
    dataset = read_boxes(tmp_path)
    assert dataset.labels == ("cat", "dog")
    assert [file.name for file in dataset.files] == ["a.jpg", "b.jpg"]
    assert dataset.boxes[0].shape == (0, 4)
    assert dataset.boxes[1].tolist() == [[2, 1, 30, 20.5], [5, 10, 25, 30]]
    assert dataset.boxes[1].dtype == dataset.areas[1].dtype == np.float32
    assert dataset.classes[1].tolist() == [1, 0]
    assert dataset.classes[1].dtype == np.int64
    assert dataset.ignored[1].tolist() == [True, False]
    assert not dataset.crowd[1].any()
    assert dataset.areas[1].tolist() == [28 * 19.5, 20 * 20]
    assert dataset.notes == ()


def test_lists_are_parts(tmp_path: Path) -> None:
    for stem in ("one", "two", "three"):
        add_voc(tmp_path, stem, CAT)
    assert list_box_parts(tmp_path) == ()
    add_list(tmp_path, "train", "one", "three", "")
    listed = add_list(tmp_path, "val", "two")
    add_list(tmp_path, "trainval", "one", "two", "three")
    assert list_box_parts(tmp_path) == ("train", "val")
    train = read_boxes(tmp_path, part="train")
    assert [file.stem for file in train.files] == ["one", "three"]
    assert not train.notes
    assert [file.stem for file in read_boxes(tmp_path, part="val").files] == ["two"]
    assert [file.stem for file in read_boxes(listed).files] == ["two"]
    assert len(read_boxes(tmp_path)) == 3
    with pytest.raises(DataError, match=r"no part 'test' .* has train, val\)"):
        read_boxes(tmp_path, part="test")
    with pytest.raises(DataError, match="no part 'val'"):
        read_boxes(listed, part="val")


def test_list_of_one_class_has_a_second_column(tmp_path: Path) -> None:
    add_voc(tmp_path, "one", CAT)
    add_voc(tmp_path, "two 2", CAT)
    listed = add_list(tmp_path, "cat_val", "one  1", "two 2")
    assert [file.stem for file in read_boxes(listed).files] == ["one", "two 2"]


def test_xml_files_beside_their_images(tmp_path: Path) -> None:
    file = add_voc(tmp_path, "one", CAT)
    (tmp_path / "flat").mkdir()
    file.rename(tmp_path / "flat/one.xml")
    add_image(tmp_path / "flat/one.jpg")
    assert read_boxes(tmp_path / "flat").files == (tmp_path / "flat/one.jpg",)


def test_image_is_found_by_stem_then_by_name(tmp_path: Path) -> None:
    add_voc(tmp_path, "one", CAT, filename="other.png")
    add_image(tmp_path / "JPEGImages/deep/one.jpeg")
    add_voc(tmp_path, "two", CAT, filename="C.PNG")
    dataset = read_boxes(tmp_path)
    assert [file.name for file in dataset.files] == ["one.jpeg", "C.PNG"]


def test_images_without_annotation_are_told(tmp_path: Path) -> None:
    add_voc(tmp_path, "one", CAT)
    add_image(tmp_path / "JPEGImages/two.jpg")
    assert read_boxes(tmp_path).notes == ("images without an annotation, left out: two",)


def test_parts_of_an_object_are_not_objects(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
    part = f"<part><name>head</name>{box}</part>"
    add_voc(tmp_path, "one", describe_object("person", (0, 0, 20, 20), extra=part))
    dataset = read_boxes(tmp_path)
    assert dataset.labels == ("person",)
    assert dataset.boxes[0].tolist() == [[0, 0, 20, 20]]


def test_missing_image_and_missing_annotation(tmp_path: Path) -> None:
    add_voc(tmp_path, "one", CAT)
    add_voc(tmp_path, "two", CAT, image=False)
    with pytest.raises(DataError, match=r"1 of 2 images .*two\.xml.*no such image .*two\.jpg"):
        read_boxes(tmp_path)
    kept = read_boxes(tmp_path, skip_broken=True)
    assert [file.stem for file in kept.files] == ["one"]
    assert [file.stem for file, _ in kept.skipped] == ["two"]
    listed = add_list(tmp_path, "val", "one", "three")
    with pytest.raises(DataError, match=r"no annotation .*three\.xml"):
        read_boxes(listed)
    assert [file.name for file, _ in read_boxes(listed, skip_broken=True).skipped] == ["three.xml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object>", "damaged"),
        ("", "damaged"),
        ("<html></html>", "begins with <annotation> .*<html>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "no document type"),
        ("<annotation><object><name>x</name></object></annotation>", "numbers .*box 0"),
        (f"<annotation>{describe_object('', (0, 0, 9, 9))}</annotation>", "class name .*box 0"),
        (f"<annotation>{describe_object('x', ('a', 0, 9, 9))}</annotation>", "numbers .*'a'"),
    ],
)
def test_damaged_annotation_is_named(tmp_path: Path, text: str, message: str) -> None:
    add_voc(tmp_path, "good", CAT)
    add_voc(tmp_path, "bad").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(tmp_path)
    assert "bad.xml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(read_boxes(tmp_path, skip_broken=True)) == 1


def test_missing_or_odd_size_is_no_fault(tmp_path: Path) -> None:
    add_voc(tmp_path, "a", CAT, size=None)
    add_voc(tmp_path, "b", CAT, size=(0, 0))
    assert read_boxes(tmp_path).notes == ()
    add_voc(tmp_path, "c", CAT, size=(400, 600))
    (note,) = read_boxes(tmp_path).notes
    assert note == "images whose annotation notes another size: 1 (c.jpg: 600x400 instead of 60x40)"


def test_blood_cells(real_data: Path) -> None:
    folder = real_data / "bccd"
    dataset = read_boxes(folder)
    assert dataset.notes == (
        "boxes left out: 2 (BloodImage_00338.xml box 12: no area; "
        "BloodImage_00343.xml box 3: no area)",
    )
    assert len(dataset) == 364
    assert dataset.labels == ("Platelets", "RBC", "WBC")
    assert dataset.counts == (361, 4155 - 2, 372)
    sizes = [len(read_boxes(folder, part=part)) for part in ("train", "val", "test")]
    assert sizes == [205, 87, 72]
    assert len(read_boxes(folder / "ImageSets/Main/val.txt")) == 87
