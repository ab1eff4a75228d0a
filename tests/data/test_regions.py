from __future__ import annotations

import numpy as np
import pytest

from edgevision.data.regions import Polygons, RegionMask, RunLengths, parse_region, unpack_counts
from edgevision.errors import DataError


def fill(*rings: list[float], size: tuple[int, int] = (6, 8)) -> np.ndarray:
    region = parse_region(list(rings))
    assert region is not None
    return region.fill(size).astype(int)


def test_rectangle_covers_the_pixels_between_its_edges() -> None:
    mask = fill([2, 1, 5, 1, 5, 4, 2, 4])
    expected = np.zeros((6, 8), int)
    expected[1:4, 2:5] = 1
    assert np.array_equal(mask, expected)
    # Turning the other way round and starting elsewhere change nothing.
    assert np.array_equal(fill([5, 4, 5, 1, 2, 1, 2, 4]), expected)


def test_pixel_belongs_where_its_centre_lies() -> None:
    assert fill([1.4, 0, 3.6, 0, 3.6, 1, 1.4, 1])[0].tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    assert fill([1.6, 0, 3.4, 0, 3.4, 1, 1.6, 1])[0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert fill([0, 0.6, 8, 0.6, 8, 1.4, 0, 1.4]).sum() == 0


def test_triangle_and_hollow_shape() -> None:
    assert fill([0, 0, 6, 0, 0, 6]).sum(axis=1).tolist() == [5, 4, 3, 2, 1, 0]
    hollow = fill([0, 0, 8, 0, 8, 6, 0, 6, 0, 0, 2, 2, 2, 4, 6, 4, 6, 2, 2, 2])
    assert hollow.sum() == 8 * 6 - 4 * 2


def test_several_outlines_are_one_object() -> None:
    mask = fill([0, 0, 3, 0, 3, 2, 0, 2], [2, 1, 5, 1, 5, 3, 2, 3])
    assert mask.sum() == 6 + 6 - 1


def test_outline_beyond_the_image_is_cut() -> None:
    assert fill([-5, -5, 50, -5, 50, 50, -5, 50]).all()
    assert fill([9, 1, 12, 1, 12, 4, 9, 4]).sum() == 0
    assert fill([1, 7, 3, 7, 3, 9, 1, 9]).sum() == 0
    assert parse_region([[1, 2, 3, 4]]) is None
    assert parse_region([]) is None


def test_run_lengths_go_down_the_columns() -> None:
    region = parse_region({"counts": [1, 2, 2, 1], "size": [3, 2]})
    assert region is not None
    assert region.fill((3, 2)).astype(int).tolist() == [[0, 0], [1, 0], [1, 1]]
    with pytest.raises(DataError, match="6 pixels"):
        region.fill((2, 3))
    with pytest.raises(DataError, match="run lengths"):
        RunLengths((7, -1), (3, 2)).fill((3, 2))
    with pytest.raises(DataError, match="run lengths"):
        RunLengths((10**30,), (3, 2)).fill((3, 2))


def test_packed_run_lengths() -> None:
    tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (64, 48), (300, 400)):
        mask = (rng.random(size) < 0.5) | (np.arange(size[1]) % 37 > 20)
        packed = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
        region = parse_region({"counts": packed["counts"].decode(), "size": size})
        assert region is not None
        assert np.array_equal(region.fill(size), mask)
    long = tools.encode(np.asfortranarray(np.ones((1000, 900), np.uint8)))
    assert unpack_counts(long["counts"].decode()) == [0, 1000 * 900]


@pytest.mark.parametrize("text", ["o", "5 2", "\n", "é"])
def test_damaged_packing(text: str) -> None:
    with pytest.raises(DataError, match="packed run lengths"):
        unpack_counts(text)


def test_outlines_against_pycocotools() -> None:
    tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radii = rng.uniform(20, 45, 12)
        ring = np.stack([50 + radii * np.cos(angles), 60 + radii * np.sin(angles)], axis=1).ravel()
        expected = tools.decode(tools.merge(tools.frPyObjects([ring.tolist()], 120, 100))) > 0
        mask = fill(ring.tolist(), size=(120, 100)) > 0
        assert (mask & expected).sum() / (mask | expected).sum() > 0.97


def test_later_regions_lie_on_top() -> None:
    below = Polygons((np.array([[0, 0], [4, 0], [4, 4], [0, 4.0]]),))
    above = Polygons((np.array([[2, 2], [4, 2], [4, 4], [2, 4.0]]),))
    mask = RegionMask(source="x", size=(4, 6), regions=((1, below), (255, above)), rest=7)
    expected = [[1, 1, 1, 1, 7, 7]] * 2 + [[1, 1, 255, 255, 7, 7]] * 2
    assert mask.load().tolist() == expected
