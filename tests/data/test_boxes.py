from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotated import add_coco, add_image, add_list, add_voc, describe_object
from PIL import Image

from edgevision.data.boxes import list_box_parts, read_boxes
from edgevision.data.images import decode_image
from edgevision.data.scenes import LABELS, write_dataset
from edgevision.errors import DataError, InvalidConfigError, MissingFileError

CAT = describe_object("cat", (10, 5, 30, 25))


def test_impossible_boxes_are_left_out_and_told(tmp_path: Path) -> None:
    objects = [
        CAT,
        describe_object("cat", (10, 5, 10, 25)),
        describe_object("cat", (30, 25, 10, 5)),
        describe_object("cat", (70, 5, 90, 25)),
        describe_object("cat", ("nan", 5, 90, 25)),
        describe_object("dog", (10, 5, 30, 25)),
        CAT,
    ]
    add_voc(tmp_path, "a", *objects)
    dataset = read_boxes(tmp_path)
    assert dataset.boxes[0].tolist() == [[5, 10, 25, 30]] * 2
    assert dataset.classes[0].tolist() == [0, 1]
    assert dataset.notes == (
        "boxes left out: 5 (a.xml box 1: no area; a.xml box 2: no area; "
        "a.xml box 3: outside the image; a.xml box 4: not a finite number; "
        "a.xml box 6: repeats box 0)",
    )


def test_only_a_few_faults_are_spelled_out(tmp_path: Path) -> None:
    add_voc(tmp_path, "a", CAT, *(describe_object("cat", (9, 9, 9, i)) for i in range(9)))
    (note,) = read_boxes(tmp_path).notes
    assert note.startswith("boxes left out: 9 (a.xml box 1: no area;")
    assert note.endswith("; and 4 more)")


def test_boxes_over_the_edge_are_clipped_and_told_beyond_a_pixel(tmp_path: Path) -> None:
    inside = describe_object("cat", (0, 0, 61, 41))
    beyond = describe_object("cat", (-3, 10, 30, 50))
    add_voc(tmp_path, "a", inside, beyond)
    dataset = read_boxes(tmp_path)
    assert dataset.boxes[0].tolist() == [[0, 0, 40, 60], [10, 0, 40, 30]]
    assert dataset.areas[0].tolist() == [40 * 60, 30 * 30]
    assert dataset.notes == ("boxes that reach over the image, clipped: 1 (a.xml box 1)",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_follow_the_upright_image(tmp_path: Path, orientation: int) -> None:
    """A white patch stays in its box, whichever pixels the annotation was made on."""
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[4:12, 30:54] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    add_voc(tmp_path, "a", describe_object("patch", (30, 4, 54, 12)), filename="a.png")
    Image.fromarray(stored).save(tmp_path / "JPEGImages/a.png", exif=exif)
    upright = decode_image(tmp_path / "JPEGImages/a.png")
    turned = orientation >= 5
    assert upright.shape == ((60, 40, 3) if turned else (40, 60, 3))
    if turned:
        rows, columns = np.nonzero(upright[:, :, 0])
        expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    else:
        # The sizes do not tell: annotations are of the upright image.
        expected = [4, 30, 12, 54]
    dataset = read_boxes(tmp_path)
    assert dataset.boxes[0].tolist() == [expected]
    assert not dataset.notes


def test_annotation_of_the_upright_image_is_kept(tmp_path: Path) -> None:
    add_voc(tmp_path, "a", describe_object("cat", (0, 20, 40, 60)), size=(60, 40), image=False)
    add_image(tmp_path / "JPEGImages/a.jpg", (40, 60), orientation=6)
    assert read_boxes(tmp_path).boxes[0].tolist() == [[20, 0, 60, 40]]


def test_model_labels_fix_the_order(tmp_path: Path) -> None:
    add_voc(tmp_path, "a", CAT, describe_object("traffic_light", (1, 1, 9, 9)))
    dataset = read_boxes(tmp_path, labels=["Traffic Light", "bus", "cat"])
    assert dataset.labels == ("Traffic Light", "bus", "cat")
    assert dataset.classes[0].tolist() == [2, 0]
    assert dataset.counts == (1, 0, 1)


def test_classes_that_the_model_lacks_are_left_out_and_told(tmp_path: Path) -> None:
    kite = describe_object("kite", (1, 1, 9, 9))
    add_voc(tmp_path, "a", kite, CAT)
    add_voc(tmp_path, "b", kite)
    dataset = read_boxes(tmp_path, labels=["dog", "cat"])
    assert [classes.tolist() for classes in dataset.classes] == [[1], []]
    assert dataset.notes == ("classes that the model lacks, left out: kite (2)",)
    with pytest.raises(DataError, match="2 of 2 labels are not among the model's 1"):
        read_boxes(tmp_path, labels=["bus"])


def test_images_without_objects_need_labels(tmp_path: Path) -> None:
    add_voc(tmp_path, "a")
    with pytest.raises(DataError, match="one class at least"):
        read_boxes(tmp_path)
    assert read_boxes(tmp_path, labels=["cat"]).counts == (0,)


def test_broken_images_are_skipped_where_wanted(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        add_voc(tmp_path, stem, CAT)
    data = (tmp_path / "JPEGImages/b.jpg").read_bytes()
    (tmp_path / "JPEGImages/b.jpg").write_bytes(data[:-300])
    (tmp_path / "JPEGImages/c.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 3 images can not be read .*c\.xml"):
        read_boxes(tmp_path)
    stages = set()
    dataset = read_boxes(
        tmp_path, skip_broken=True, progress=lambda stage, done, total: stages.add(stage)
    )
    assert [file.stem for file in dataset.files] == ["a"]
    assert sorted(file.stem for file, _ in dataset.skipped) == ["b", "c"]
    assert stages == {"reading boxes", "checking images"}
    (tmp_path / "JPEGImages/a.jpg").write_bytes(data[:-300])
    with pytest.raises(DataError, match="no image can be read"):
        read_boxes(tmp_path, skip_broken=True)


def test_split_keeps_images_and_boxes_together(tmp_path: Path) -> None:
    for index in range(10):
        add_voc(tmp_path, f"{index}", describe_object("cat", (0, 0, 20, 10 + index)))
    dataset = read_boxes(tmp_path)
    train, val = dataset.split(0.3, seed=1)
    assert len(train) == 7
    assert len(val) == 3
    assert sorted(train.files + val.files) == list(dataset.files)
    for part in (train, val):
        for file, boxes in zip(part.files, part.boxes, strict=True):
            assert boxes[0, 2] == 10 + int(file.stem)
    assert dataset.split(0.3, seed=1)[1].files == val.files
    assert dataset.split(0.3, seed=2)[1].files != val.files
    last = dataset.select([9, 0])
    assert [file.stem for file in last.files] == ["9", "0"]
    assert last.describe() == "2 images, 2 boxes (2 cat)"


def test_columns_are_as_long_as_files(tmp_path: Path) -> None:
    add_voc(tmp_path, "a", CAT)
    dataset = read_boxes(tmp_path)
    with pytest.raises(InvalidConfigError, match="1 files"):
        replace(dataset, classes=())


def test_describe_names_the_classes_with_most_boxes(tmp_path: Path) -> None:
    objects = [
        describe_object(f"kind{i:02}", (j, 0, 30, 9)) for i in range(12) for j in range(i + 1)
    ]
    add_voc(tmp_path, "a", *objects, describe_object("kind11", (0, 0, 3, 3), difficult=1))
    text = read_boxes(tmp_path).describe()
    assert text.startswith("1 images, 79 boxes (12 kind11, 11 kind10,")
    assert text.endswith("3 kind02, 3 of 2 other classes, 1 ignored)")


def test_what_holds_no_boxes_is_described(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_boxes(tmp_path / "none")
    with pytest.raises(DataError, match=r"no boxes .* holds 0 images"):
        read_boxes(tmp_path)
    image = add_image(tmp_path / "cat/1.jpg")
    (tmp_path / "notes.md").touch()
    with pytest.raises(DataError, match=r"holds 1 images, 1 of \.md\): .*Pascal VOC.*COCO"):
        read_boxes(tmp_path)
    with pytest.raises(DataError, match=r"no boxes are found here .*the file"):
        read_boxes(image)
    with pytest.raises(InvalidConfigError, match="no such part"):
        read_boxes(tmp_path, part="dev")


def test_folder_of_part_folders(tmp_path: Path) -> None:
    add_voc(tmp_path / "train", "a", CAT)
    add_image(tmp_path / "valid/b.jpg")
    add_coco(
        tmp_path / "valid/_annotations.coco.json",
        [{"bbox": [1, 2, 3, 4]}],
        images=("b.jpg",),
        categories=((3, "dog"),),
    )
    assert list_box_parts(tmp_path) == ("train", "val")
    assert read_boxes(tmp_path, part="val").labels == ("dog",)
    both = read_boxes(tmp_path)
    assert both.labels == ("cat", "dog")
    assert [classes.tolist() for classes in both.classes] == [[0], [1]]
    with pytest.raises(DataError, match="no part 'test'"):
        read_boxes(tmp_path, part="test")


def test_generated_scenes(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "scenes", num_train=12, num_val=4, size=48, num_objects=3, seed=5
    )
    assert list_box_parts(folder) == ("train", "val")
    dataset = read_boxes(folder)
    assert dataset.labels == LABELS
    assert not dataset.notes
    train, val = (read_boxes(folder, part=part) for part in ("train", "val"))
    assert dataset.files == train.files + val.files
    assert len(val) == 4
    assert max(len(boxes) for boxes in dataset.boxes) > 1
    assert [file.parent.name for file in val.files] == [LABELS[c[0]] for c in val.classes]
    assert read_boxes(folder / "val").files == val.files
    assert read_boxes(folder / "scenes.json", part="val").files == val.files
    assert list_box_parts(folder / "val") == ()


def test_damaged_list_of_scenes(tmp_path: Path) -> None:
    file = tmp_path / "scenes.json"
    for text in ("{", "[]", '{"images": [{}]}', '{"labels": ["a"], "images": [{"file": 3}]}'):
        file.write_text(text)
        with pytest.raises(DataError, match=r"scenes\.json"):
            read_boxes(tmp_path)


def test_list_file_that_belongs_to_nothing(tmp_path: Path) -> None:
    listed = add_list(tmp_path / "deep/er", "val", "a")
    with pytest.raises(DataError, match=r"the file .*val\.txt"):
        read_boxes(listed)
    add_voc(tmp_path / "deep/er", "a", CAT)
    assert len(read_boxes(listed)) == 1
    listed.write_text("\n")
    with pytest.raises(DataError, match="names no images"):
        read_boxes(listed)
