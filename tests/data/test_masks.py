from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotated import add_coco, add_image, add_list, add_mask
from PIL import Image

from edgevision.contract import Preprocessing
from edgevision.data.images import decode_image
from edgevision.data.masks import list_mask_parts, read_masks, resize_mask
from edgevision.data.preprocess import Preprocessor
from edgevision.data.scenes import LABELS, write_dataset
from edgevision.errors import DataError, InvalidConfigError, MissingFileError
from edgevision.specs import TensorSpec

RESIZING = [
    {"resize": "stretch"},
    {"resize": "crop", "crop_fraction": 0.8},
    {"resize": "crop"},
    {"resize": "letterbox"},
]


def add_pair(root: Path, stem: str, values: np.ndarray, **options: bool) -> None:
    add_image(root / "images" / f"{stem}.jpg", values.shape)
    add_mask(root / "masks" / f"{stem}.png", values, **options)


def draw(*values: int) -> np.ndarray:
    """One row of 4 by 3 blocks for each value."""
    return np.repeat(np.array(values, np.uint8), 12).reshape(-1, 4, 3).reshape(-1, 3)


def test_black_and_white_masks_have_two_classes(tmp_path: Path) -> None:
    add_pair(tmp_path, "a", draw(0, 255))
    add_pair(tmp_path, "b", draw(0))
    dataset = read_masks(tmp_path)
    assert dataset.labels == ("background", "foreground")
    assert np.array_equal(dataset.load_mask(0), draw(0, 1))
    assert dataset.load_mask(1).max() == 0
    assert dataset.count_pixels() == (24, 12)
    assert not dataset.notes
    assert read_masks(tmp_path, labels=["rest", "cell"]).labels == ("rest", "cell")
    with pytest.raises(DataError, match=r"two classes .*3 classes are named"):
        read_masks(tmp_path, labels=["rest", "cell", "wall"])


@pytest.mark.parametrize("palette", [False, True])
def test_masks_of_indices(tmp_path: Path, palette: bool) -> None:
    add_pair(tmp_path, "a", draw(0, 2, 255), palette=palette)
    add_pair(tmp_path, "b", draw(3, 1), palette=palette)
    dataset = read_masks(tmp_path)
    assert dataset.labels == ("background", "class 1", "class 2", "class 3")
    mask = dataset.load_mask(0)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, draw(0, 2, 255))
    assert dataset.count_pixels() == (12, 12, 12, 12)
    assert read_masks(tmp_path, labels=list("abcde")).labels == tuple("abcde")
    with pytest.raises(DataError, match=r"below 3, or 255 .*: 3\)"):
        read_masks(tmp_path, labels=list("abc"))


def test_parts_as_folders_lists_and_folders_below(tmp_path: Path) -> None:
    for part in ("train", "val"):
        add_pair(tmp_path / "one" / part, part, draw(0, 1))
        add_image(tmp_path / "two/images" / part / f"{part}.jpg", (8, 3))
        add_mask(tmp_path / "two/masks" / part / f"{part}.png", draw(0, 1))
        add_image(tmp_path / "three/JPEGImages" / f"{part}.jpg", (8, 3))
        add_mask(tmp_path / "three/SegmentationClass" / f"{part}.png", draw(0, 1))
        add_list(tmp_path / "three", part, part, kind="Segmentation")
    for root in (tmp_path / "one", tmp_path / "two", tmp_path / "three"):
        assert list_mask_parts(root) == ("train", "val")
        assert [file.stem for file in read_masks(root, part="val").files] == ["val"]
        assert len(read_masks(root)) == 2
        assert not read_masks(root, part="val").notes
        with pytest.raises(DataError, match="no part 'test'"):
            read_masks(root, part="test")
    listed = tmp_path / "three/ImageSets/Segmentation/val.txt"
    assert [file.stem for file in read_masks(listed).files] == ["val"]
    with pytest.raises(DataError, match="no part 'val'"):
        read_masks(listed, part="val")


def test_names_beside_the_masks(tmp_path: Path) -> None:
    add_pair(tmp_path / "train", "a", draw(0, 1, 2))
    (tmp_path / "labels.txt").write_text("_background_\ncat\nsea lion\n")
    dataset = read_masks(tmp_path, part="train")
    assert dataset.labels == ("_background_", "cat", "sea lion")
    other = read_masks(tmp_path, part="train", labels=["background", "sea_lion", "bus"])
    assert np.array_equal(other.load_mask(0), draw(0, 0, 1))
    assert other.notes == ("classes that the model lacks are background: cat",)
    (tmp_path / "train/labels.txt").write_text("cat\nsea lion\n")
    assert read_masks(tmp_path / "train").labels == ("background", "cat", "sea lion")


def test_images_without_mask_are_told_and_masks_without_image_refused(tmp_path: Path) -> None:
    add_pair(tmp_path, "a", draw(0, 1))
    add_image(tmp_path / "images/b.jpg", (8, 3))
    assert read_masks(tmp_path).notes == ("images without a mask, left out: 1 (b)",)
    add_mask(tmp_path / "masks/c_mask.png", draw(0, 1))
    with pytest.raises(DataError, match=r"1 of 2 masks have no image.*: c\)"):
        read_masks(tmp_path)
    dataset = read_masks(tmp_path, skip_broken=True)
    assert len(dataset) == 1
    assert [file.name for file, _ in dataset.skipped] == ["c"]
    add_image(tmp_path / "images/c.jpg", (8, 3))
    assert len(read_masks(tmp_path)) == 2


def test_broken_and_misfit_masks(tmp_path: Path) -> None:
    add_pair(tmp_path, "a", draw(0, 1))
    add_pair(tmp_path, "b", draw(0, 1))
    add_image(tmp_path / "images/b.jpg", (8, 4))
    add_pair(tmp_path, "c", draw(0, 1))
    (tmp_path / "masks/c.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"2 of 3 masks .*b\.png is 3x8 .*4x8; .*c\.png"):
        read_masks(tmp_path)
    dataset = read_masks(tmp_path, skip_broken=True)
    assert [file.stem for file in dataset.files] == ["a"]
    assert [file.stem for file, _ in dataset.skipped] == ["b", "c"]


def test_broken_image_is_skipped_where_wanted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8)
    for stem in "ab":
        add_pair(tmp_path, stem, noise)
    data = (tmp_path / "images/b.jpg").read_bytes()
    (tmp_path / "images/b.jpg").write_bytes(data[:-500])
    stages = set()
    dataset = read_masks(
        tmp_path, skip_broken=True, progress=lambda stage, done, total: stages.add(stage)
    )
    assert [file.stem for file in dataset.files] == ["a"]
    assert stages == {"reading masks", "checking images"}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_follow_the_upright_image(tmp_path: Path, orientation: int) -> None:
    stored = np.zeros((40, 60), np.uint8)
    stored[4:12, 30:54] = 1
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "images").mkdir()
    Image.fromarray(stored * 255).save(tmp_path / "images/a.png", exif=exif)
    upright = decode_image(tmp_path / "images/a.png")[:, :, 0] > 0
    add_mask(tmp_path / "masks/a.png", upright)
    assert np.array_equal(read_masks(tmp_path).load_mask(0), upright)
    if orientation >= 5:
        add_mask(tmp_path / "masks/a.png", stored)
        assert np.array_equal(read_masks(tmp_path).load_mask(0), upright)


@pytest.mark.parametrize("rule", RESIZING)
@pytest.mark.parametrize("shape", [(90, 120), (121, 77), (32, 48), (10, 11)])
def test_mask_is_resized_as_its_image(rule: dict, shape: tuple[int, int]) -> None:
    size = (32, 48)
    mask = np.zeros(shape, np.uint8)
    mask[shape[0] // 3 : shape[0] // 2 + 1, shape[1] // 4 : shape[1] * 3 // 4] = 1
    preprocessing = Preprocessing(**rule)
    spec = TensorSpec(name="x", shape=(1, *size, 3), dtype="float32")
    image = np.repeat(mask[:, :, None] * np.uint8(200) + np.uint8(55), 3, axis=2)
    pixels = Preprocessor(preprocessing, spec).resize(image)[:, :, 0]
    resized = resize_mask(mask, preprocessing, size)
    assert resized.shape == size
    assert resized.dtype == np.uint8
    assert np.array_equal(resized == 255, pixels == 0)
    inside = resized != 255
    # Where the resized image is not in between, the mask says the same.
    assert (resized[inside] == (pixels[inside] > 155)).mean() > 0.97
    assert set(np.unique(resized)) <= {0, 1, 255}


def test_split_and_select_keep_masks_with_their_images(tmp_path: Path) -> None:
    for index in range(6):
        add_pair(tmp_path, f"{index}", draw(0, 1, index))
    dataset = read_masks(tmp_path)
    train, val = dataset.split(0.3, seed=0)
    assert (len(train), len(val)) == (4, 2)
    for part in (train, val, dataset.select([5, 0])):
        for index, file in enumerate(part.files):
            assert np.array_equal(part.load_mask(index), draw(0, 1, int(file.stem)))
    assert dataset.describe().startswith("6 images, 6 classes (background, class 1,")
    with pytest.raises(InvalidConfigError, match="0 masks"):
        replace(dataset, sources=())
    with pytest.raises(InvalidConfigError, match="1 labels"):
        replace(dataset, labels=("a",))


def test_generated_scenes(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path / "scenes", num_train=7, num_val=3, size=32, num_objects=2, masks=True
    )
    assert list_mask_parts(folder) == ("train", "val")
    dataset = read_masks(folder)
    assert dataset.labels == ("background", *LABELS)
    assert all(dataset.count_pixels())
    assert read_masks(folder, part="val").files == read_masks(folder / "val").files
    bare = write_dataset(tmp_path / "bare", num_train=2, num_val=1, size=32)
    with pytest.raises(DataError, match="these scenes have no masks"):
        read_masks(bare)


def test_what_holds_no_masks_is_described(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_masks(tmp_path / "none")
    image = add_image(tmp_path / "cat/1.jpg")
    with pytest.raises(DataError, match=r"no masks .*holds 1 images.*images and masks.*COCO"):
        read_masks(tmp_path)
    with pytest.raises(DataError, match="no masks are found here"):
        read_masks(image)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="masks come as files or as outlines"):
        read_masks(tmp_path)


def test_parts_in_two_formats_are_read_one_at_a_time(tmp_path: Path) -> None:
    add_pair(tmp_path / "train", "a", draw(0, 1))
    outline = {"segmentation": [[0, 0, 9, 0, 9, 9]], "bbox": [0, 0, 9, 9]}
    add_coco(tmp_path / "val/instances.json", [outline])
    add_image(tmp_path / "val/a.jpg")
    assert len(read_masks(tmp_path, part="val")) == len(read_masks(tmp_path, part="train")) == 1
    with pytest.raises(DataError, match="one part at a time"):
        read_masks(tmp_path)


def test_membranes(real_data: Path) -> None:
    dataset = read_masks(real_data / "membrane")
    assert len(dataset) == 30
    assert dataset.labels == ("background", "foreground")
    assert sum(dataset.count_pixels()) == 30 * 512 * 512
    assert set(np.unique(dataset.load_mask(0))) == {0, 1}
