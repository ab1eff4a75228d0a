from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from annotated import add_coco, add_image

from edgevision.data.boxes import list_box_parts, read_boxes
from edgevision.data.masks import list_mask_parts, read_masks
from edgevision.errors import DataError

CAT = {"bbox": [10, 5, 20, 15], "area": 123.5, "iscrowd": 0}
SQUARE = [10, 5, 30, 5, 30, 20, 10, 20]


def test_boxes_flags_and_areas(tmp_path: Path) -> None:
    crowd = {"bbox": [0, 0, 60, 40], "category_id": 1, "iscrowd": 1}
    add_coco(tmp_path / "instances.json", [CAT, crowd, {"bbox": [1.5, 2.5, 3, 4]}])
    add_image(tmp_path / "images/a.jpg")
    dataset = read_boxes(tmp_path)
    assert dataset.labels == ("dog", "cat")
    assert dataset.boxes[0].tolist() == [[5, 10, 20, 30], [0, 0, 40, 60], [2.5, 1.5, 6.5, 4.5]]
    assert dataset.classes[0].tolist() == [1, 0, 1]
    assert dataset.crowd[0].tolist() == dataset.ignored[0].tolist() == [False, True, False]
    assert dataset.areas[0].tolist() == [123.5, 60 * 40, 3 * 4]
    assert dataset.counts == (0, 2)


def test_faults_are_named_by_annotation(tmp_path: Path) -> None:
    empty, repeated = {"bbox": [5, 5, 0, 9]}, {**CAT, "id": 77}
    add_coco(tmp_path / "instances.json", [CAT, empty, repeated, {**CAT, "iscrowd": 1}])
    add_image(tmp_path / "a.jpg")
    dataset = read_boxes(tmp_path)
    assert dataset.ignored[0].tolist() == [False, True]
    assert dataset.notes == (
        "boxes left out: 2 (instances.json annotation 2: no area; "
        "instances.json annotation 77: repeats annotation 1)",
    )


def test_parts_are_told_by_the_names_of_the_files(tmp_path: Path) -> None:
    for part, image in (("train", "a.jpg"), ("val", "b.jpg")):
        add_coco(tmp_path / f"annotations/instances_{part}2017.json", [CAT], images=(image,))
        add_image(tmp_path / f"{part}2017" / image)
    (tmp_path / "annotations/captions_val2017.json").write_text('{"images": []}')
    assert list_box_parts(tmp_path) == list_mask_parts(tmp_path) == ("train", "val")
    assert [f.name for f in read_boxes(tmp_path, part="val").files] == ["b.jpg"]
    assert len(read_boxes(tmp_path)) == 2
    file = tmp_path / "annotations/instances_train2017.json"
    assert read_boxes(file).files == (tmp_path / "train2017/a.jpg",)
    with pytest.raises(DataError, match="no part 'test'"):
        read_boxes(tmp_path, part="test")


def test_other_json_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"images": 3}')
    with pytest.raises(DataError, match="no boxes are found here"):
        read_boxes(tmp_path)
    add_coco(tmp_path / "labels.json", [CAT])
    add_image(tmp_path / "a.jpg")
    assert len(read_boxes(tmp_path)) == 1


def test_images_are_found_wherever_they_are(tmp_path: Path) -> None:
    names = ("a.jpg", "x/b.jpg", "y\\b.jpg", "c.jpg")
    add_coco(tmp_path / "instances.json", [CAT], images=names)
    for place in ("deep/a.jpg", "deep/x/b.jpg", "deep/y/b.jpg", "c.jpg"):
        add_image(tmp_path / place)
    found = [f.relative_to(tmp_path).as_posix() for f in read_boxes(tmp_path).files]
    assert found == ["deep/a.jpg", "deep/x/b.jpg", "deep/y/b.jpg", "c.jpg"]


def test_missing_and_ambiguous_images(tmp_path: Path) -> None:
    add_coco(tmp_path / "instances.json", [CAT], images=("a.jpg", "b.jpg"))
    add_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"1 of 2 images can not be read .*b\.jpg"):
        read_boxes(tmp_path)
    assert len(read_boxes(tmp_path, skip_broken=True)) == 1
    for place in ("one/b.jpg", "two/b.jpg"):
        add_image(tmp_path / place)
    with pytest.raises(DataError, match=r"several files .*one/b\.jpg and .*two/b\.jpg"):
        read_boxes(tmp_path)


def test_annotations_of_other_images_are_told(tmp_path: Path) -> None:
    add_coco(tmp_path / "instances.json", [CAT, {**CAT, "image_id": 9}])
    add_image(tmp_path / "a.jpg")
    dataset = read_boxes(tmp_path)
    assert dataset.counts == (0, 1)
    assert dataset.notes == ("annotations of images that instances.json does not list: 1",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": None}, "annotation 1: "),
        ({"bbox": [1, 2, 3]}, "annotation 1: "),
        ({"bbox": "none"}, "annotation 1: "),
        ({"category_id": 8}, "annotation 1: no 8"),
        ({"image_id": []}, "its tables: "),
    ],
)
def test_damaged_annotation_is_named(tmp_path: Path, change: dict, message: str) -> None:
    add_coco(tmp_path / "instances.json", [{**CAT, **change}])
    add_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=f"COCO file is damaged .*instances.json, {message}"):
        read_boxes(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON file is damaged"),
        ("[1]", "an object .*list"),
        ("{}", "lacks images, annotations, categories"),
        ('{"images": [{}], "annotations": [], "categories": []}', "its tables: no 'id'"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "image 1: no 'file_name'"),
        ('{"images": 3, "annotations": [], "categories": []}', "its tables: "),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "no 'name'"),
        ('{"images": [], "annotations": [], "categories": []}', "one class at least"),
    ],
)
def test_damaged_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "instances.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_boxes(tmp_path)
    assert "\n" not in str(caught.value)


def test_outlines_become_masks(tmp_path: Path) -> None:
    small = {
        "segmentation": [[20, 10, 24, 10, 24, 14, 20, 14]],
        "area": 16,
        "category_id": 1,
        "bbox": [0, 0, 1, 1],
    }
    large = {**CAT, "segmentation": [SQUARE], "area": 300}
    # Columns of 40 pixels: 35 columns outside, 25 inside.
    crowd = {**CAT, "segmentation": {"counts": [35 * 40, 25 * 40], "size": [40, 60]}, "iscrowd": 1}
    add_coco(tmp_path / "instances.json", [small, large, crowd, CAT])
    add_image(tmp_path / "a.jpg")
    dataset = read_masks(tmp_path)
    assert dataset.labels == ("background", "dog", "cat")
    assert dataset.notes == ("objects without an outline, left out: 1",)
    expected = np.zeros((40, 60), np.uint8)
    expected[:, 35:] = 255
    expected[5:20, 10:30] = 2
    expected[10:14, 20:24] = 1
    mask = dataset.load_mask(0)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, expected)
    assert dataset.count_pixels() == (40 * 35 - 20 * 15, 16, 20 * 15 - 16)


def test_outlines_follow_the_upright_image(tmp_path: Path) -> None:
    add_coco(tmp_path / "instances.json", [{**CAT, "segmentation": [SQUARE]}])
    add_image(tmp_path / "a.jpg", (40, 60), orientation=6)
    mask = read_masks(tmp_path).load_mask(0)
    boxes = read_boxes(tmp_path).boxes[0]
    assert mask.shape == (60, 40)
    rows, columns = np.nonzero(mask)
    assert boxes.tolist() == [[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]]


def test_model_labels_of_masks(tmp_path: Path) -> None:
    dog = {**CAT, "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]], "category_id": 1}
    add_coco(tmp_path / "instances.json", [{**CAT, "segmentation": [SQUARE]}, dog])
    add_image(tmp_path / "a.jpg")
    dataset = read_masks(tmp_path, labels=["background", "bus", "Cat"])
    assert dataset.count_pixels() == (40 * 60 - 20 * 15, 0, 20 * 15)
    assert dataset.notes == ("classes that the model lacks are background: dog",)
    # A model without background can not be asked about anything else.
    other = read_masks(tmp_path, labels=["cat", "bus"])
    assert other.count_pixels() == (20 * 15, 0)
    assert np.unique(other.load_mask(0)).tolist() == [0, 255]
    with pytest.raises(DataError, match="2 of 2 labels"):
        read_masks(tmp_path, labels=["background", "bus"])


def test_image_of_another_size_has_no_mask(tmp_path: Path) -> None:
    add_coco(
        tmp_path / "instances.json", [{**CAT, "segmentation": [SQUARE]}], images=("a.jpg", "b.jpg")
    )
    add_image(tmp_path / "a.jpg")
    add_image(tmp_path / "b.jpg", (20, 30))
    with pytest.raises(DataError, match=r"1 of 2 images .*another size than 30x20 .*b\.jpg"):
        read_masks(tmp_path)
    assert len(read_masks(tmp_path, skip_broken=True)) == 1


def test_boxes_alone_are_no_masks(tmp_path: Path) -> None:
    add_coco(tmp_path / "instances.json", [CAT, {**CAT, "segmentation": []}])
    add_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="no object has an outline"):
        read_masks(tmp_path)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3]],
        [["a", 1]],
        [[1, 2, float("nan"), 4, 5, 6]],
        {"counts": [1]},
        {"size": [1, 2]},
        7,
    ],
)
def test_damaged_outline_is_named(tmp_path: Path, segmentation: object) -> None:
    add_coco(tmp_path / "instances.json", [{**CAT, "segmentation": segmentation}])
    add_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="annotation 1: "):
        read_masks(tmp_path)


def test_run_lengths_of_another_size_are_named(tmp_path: Path) -> None:
    runs = {"counts": [3, 4], "size": [40, 60]}
    add_coco(tmp_path / "instances.json", [{**CAT, "segmentation": runs}])
    add_image(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"instances\.json, a\.jpg: 7 pixels"):
        read_masks(tmp_path).load_mask(0)


def test_real_annotations(real_data: Path) -> None:
    folder = real_data / "coco"
    values = json.loads((folder / "instances.json").read_text())
    dataset = read_boxes(folder)
    assert len(dataset) == len(values["images"]) == 40
    assert len(dataset.labels) == 80
    assert sum(map(len, dataset.boxes)) == len(values["annotations"]) == 395
    assert sum(int(flags.sum()) for flags in dataset.crowd) == 6
    assert not dataset.notes
    by_area = sorted(row["area"] for row in values["annotations"])
    assert sorted(np.concatenate(dataset.areas).tolist()) == pytest.approx(by_area, rel=1e-6)


def test_real_outlines_against_pycocotools(real_data: Path) -> None:
    mask_tools = pytest.importorskip("pycocotools.mask")
    values = json.loads((real_data / "coco/instances.json").read_text())
    dataset = read_masks(real_data / "coco")
    names = {row["id"]: row["name"] for row in values["categories"]}
    agreeing = total = 0
    for index, image in enumerate(sorted(values["images"], key=lambda row: row["id"])):
        size = image["height"], image["width"]
        expected = np.zeros(size, np.uint8)
        rows = [row for row in values["annotations"] if row["image_id"] == image["id"]]
        for row in sorted(rows, key=lambda r: (not r["iscrowd"], -r["area"])):
            runs = mask_tools.frPyObjects(row["segmentation"], *size)
            merged = mask_tools.merge(runs) if isinstance(runs, list) else runs
            label = dataset.labels.index(names[row["category_id"]])
            expected[mask_tools.decode(merged) > 0] = 255 if row["iscrowd"] else label
        mask = dataset.load_mask(index)
        assert dataset.files[index].name == image["file_name"]
        agreeing += int((mask == expected).sum())
        total += expected.size
    assert agreeing / total > 0.999
