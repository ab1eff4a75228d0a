from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.data.folders import read_dataset
from edgevision.data.scenes import LABELS, draw_scene, write_dataset
from edgevision.data.shapes import SHAPES, TEXTURES
from edgevision.errors import InvalidConfigError, OutputError


def draw(seed: int, size: int | tuple[int, int] = 64, **options: int):
    return draw_scene(np.random.default_rng(seed), size, **options)


@pytest.mark.parametrize("label", range(len(LABELS)))
def test_scene_has_the_label_and_exact_truth(label: int) -> None:
    for seed in range(5):
        scene = draw(seed, label=label)
        assert scene.image.shape == (64, 64, 3)
        assert scene.image.dtype == scene.mask.dtype == np.uint8
        assert scene.label == label
        assert scene.classes.tolist() == [label]
        assert set(np.unique(scene.mask)) == {0, label + 1}
        rows, columns = np.nonzero(scene.mask)
        expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert scene.boxes.dtype == np.float32
        assert scene.boxes.tolist() == [expected]


def test_object_differs_from_its_surroundings() -> None:
    for seed in range(20):
        scene = draw(seed)
        inside, outside = scene.image[scene.mask > 0], scene.image[scene.mask == 0]
        assert np.abs(inside.mean(axis=0) - outside.mean(axis=0)).max() > 15


def test_same_seed_same_scene() -> None:
    assert np.array_equal(draw(3).image, draw(3).image)
    assert not np.array_equal(draw(3).image, draw(4).image)


def test_several_objects_do_not_overlap() -> None:
    for seed in range(10):
        scene = draw(seed, 96, num_objects=4, label=2)
        assert 2 <= len(scene.boxes) <= 4
        assert scene.classes[0] == scene.label == 2
        for box, kind in zip(scene.boxes.astype(int), scene.classes, strict=True):
            inside = scene.mask[box[0] : box[2], box[1] : box[3]]
            assert (inside == kind + 1).sum() > 0
        areas = (scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(axis=1)
        covered = (scene.mask > 0).sum()
        assert covered <= areas.sum()


def test_the_size_of_several_objects_follows_from_their_number() -> None:
    """The radii are 0.7 to 1 times 0.5 / sqrt(n + 1) of the shorter side."""
    for num_objects in (2, 4):
        high = 0.5 / sqrt(num_objects + 1) * 96
        for seed in range(10):
            scene = draw(seed, (96, 128), num_objects=num_objects)
            largest = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)
            # No shape reaches further than 1.12 radii; the thinnest is wider than one radius.
            assert (largest <= 2 * 1.12 * high + 2).all()
            assert (largest >= 0.7 * high).all()


@pytest.mark.parametrize("size", [16, (32, 96), (96, 32), 224])
def test_sizes(size: int | tuple[int, int]) -> None:
    expected = (size, size) if isinstance(size, int) else size
    scene = draw(0, size, num_objects=3)
    assert scene.image.shape[:2] == scene.mask.shape == expected
    assert len(scene.boxes) >= 1


def test_every_shape_fits_its_radius() -> None:
    grid = np.linspace(-1.5, 1.5, 201, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    for shape in SHAPES:
        inside = shape.distance(x, y) < 0
        reach = np.hypot(x, y)[inside]
        assert 0.9 < reach.max() < 1.12, shape.name
        assert 0.1 < inside.mean() * 9 / np.pi <= 1.01, shape.name


def test_every_texture_is_a_weight() -> None:
    for texture in TEXTURES:
        weights = texture(np.random.default_rng(0), 40, 60)
        assert weights.shape == (40, 60), texture.__name__
        assert weights.dtype == np.float32, texture.__name__
        assert 0 <= weights.min() <= weights.max() <= 1, texture.__name__
        assert weights.max() - weights.min() > 0.2, texture.__name__


@pytest.mark.parametrize(
    ("size", "options"), [(15, {}), ((64, 8), {}), (64, {"label": 99}), (64, {"num_objects": 0})]
)
def test_arguments_are_checked(size: int | tuple[int, int], options: dict[str, int]) -> None:
    with pytest.raises(InvalidConfigError):
        draw(0, size, **options)


def test_dataset_is_balanced_and_readable(tmp_path: Path) -> None:
    folder = tmp_path / "scenes"
    seen: list[tuple[str, int, int]] = []
    count = 2 * len(LABELS)
    written = write_dataset(
        folder,
        num_train=count,
        num_val=3,
        size=32,
        seed=1,
        masks=True,
        progress=lambda *step: seen.append(step),
    )
    assert written == folder
    assert seen[-1] == ("drawing scenes", count + 3, count + 3)
    train = read_dataset(folder / "train", skip_broken=True)
    assert train.labels == LABELS
    assert train.counts == (2,) * len(LABELS)
    assert not train.skipped
    assert len(read_dataset(folder / "val", labels=LABELS)) == 3
    facts = json.loads((folder / "scenes.json").read_text())
    assert facts["labels"] == list(LABELS)
    for record in facts["images"]:
        assert (folder / record["file"]).is_file()
        mask = np.asarray(Image.open(folder / record["mask"]))
        top, left, bottom, right = map(int, record["boxes"][0])
        assert (mask[top:bottom, left:right] > 0).sum() == (mask > 0).sum()


def test_larger_dataset_begins_with_the_same_images(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", num_train=9, num_val=1, size=16)
    write_dataset(tmp_path / "b", num_train=20, num_val=2, size=16)
    for file in sorted((tmp_path / "a").rglob("*.jpg")):
        other = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert file.read_bytes() == other.read_bytes()
    first = next((tmp_path / "a/train").rglob("00000.jpg")).read_bytes()
    assert first != next((tmp_path / "a/val").rglob("00000.jpg")).read_bytes()


def test_dataset_is_whole_or_absent(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "x", num_train=20, num_val=0, size=16, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="existing folder"):
        write_dataset(tmp_path / "x", num_train=1, num_val=1, size=16)
    with pytest.raises(InvalidConfigError):
        write_dataset(tmp_path / "y", num_train=0, num_val=0)
