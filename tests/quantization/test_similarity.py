from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edgevision.quantization.similarity import count_near_duplicates, hash_pixels


def draw_photo(seed: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Soft blobs, as photos have them."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def save_again(pixels: np.ndarray) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file).convert("RGB"))


def brighten(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(int) + 15, 0, 255).astype(np.uint8)


def crop(pixels: np.ndarray) -> np.ndarray:
    return pixels[1:-1, 1:-1]


@pytest.mark.parametrize("change", [save_again, brighten, crop])
def test_the_same_photo_again(change: Callable[[np.ndarray], np.ndarray]) -> None:
    photos = [draw_photo(seed) for seed in range(8)]
    hashes = [hash_pixels(p) for p in (*photos, *map(change, photos))]
    assert count_near_duplicates(hashes) == 8


def test_other_photos() -> None:
    assert count_near_duplicates([hash_pixels(draw_photo(seed)) for seed in range(100)]) == 0


def test_of_equal_photos_all_but_one_count() -> None:
    photo, other = (hash_pixels(draw_photo(seed)) for seed in (0, 1))
    assert count_near_duplicates([photo, other, photo, photo]) == 2
    assert count_near_duplicates([photo]) == 0
    assert count_near_duplicates([]) == 0
    assert count_near_duplicates([photo] * 150) == 149


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (9, 9), (96, 97)])
def test_any_size(size: tuple[int, int]) -> None:
    assert hash_pixels(draw_photo(0, size)).shape == (16,)
