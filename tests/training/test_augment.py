from __future__ import annotations

import numpy as np
import pytest

from edgevision.training.augment import (
    IDENTITY,
    Augmentation,
    augment_batch,
    draw_transforms,
    transform_images,
    vary_colors,
)

pytest.importorskip("tensorflow")

SEED = np.array([3, 4], np.int32)


def draw_ramps(count: int, height: int, width: int) -> np.ndarray:
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    return np.broadcast_to(ramp[None, None, :, None], (count, height, width, 3)).copy()


def test_identity_is_the_plain_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3), np.uint8)
    views = augment_batch(images, size=(12, 10), how=IDENTITY, seed=SEED).numpy()
    assert views == pytest.approx(images.astype(np.float32), abs=1.0)


def test_the_seed_decides_and_images_differ() -> None:
    images = draw_ramps(4, 20, 24)
    first = augment_batch(images, size=(16, 18), how=Augmentation(), seed=SEED).numpy()
    again = augment_batch(images, size=(16, 18), how=Augmentation(), seed=SEED).numpy()
    assert first.shape == (4, 16, 18, 3)
    assert np.array_equal(first, again)
    assert not np.allclose(first[0], first[1])
    assert first.min() >= 0
    assert first.max() <= 255


def test_half_of_the_images_are_mirrored_and_none_without_flip() -> None:
    images = draw_ramps(64, 16, 16)
    for flip, low, high in ((True, 16, 48), (False, 0, 0)):
        how = Augmentation(min_area=1.0, max_aspect=1.0, max_degrees=0.0, color=0.0, flip=flip)
        views = augment_batch(images, size=(16, 16), how=how, seed=SEED).numpy()
        mirrored = int((views[:, 8, 0, 0] > views[:, 8, -1, 0]).sum())
        assert low <= mirrored <= high


def test_crops_stay_inside_the_image() -> None:
    images = draw_ramps(64, 32, 32)
    how = Augmentation(min_area=0.25, max_aspect=1.0, max_degrees=0.0, color=0.0, flip=False)
    views = augment_batch(images, size=(16, 16), how=how, seed=SEED).numpy()
    # A crop of a rising ramp still rises: nothing is reflected in at the border.
    assert (np.diff(views[:, 8, :, 0], axis=1) >= -1).all()


def test_no_change_of_colour_is_none() -> None:
    images = np.random.default_rng(1).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    assert vary_colors(images, amount=0.0, seed=SEED).numpy() == pytest.approx(images, abs=1e-2)


def test_nearest_pixels_bring_no_class_that_was_not_there() -> None:
    masks = np.random.default_rng(0).choice(np.array([0, 3, 7, 255], np.uint8), (8, 20, 24, 1))
    how = Augmentation(min_area=0.5)
    transforms = draw_transforms(masks, size=(16, 18), how=how, seed=SEED)
    views = transform_images(masks, transforms, size=(16, 18), nearest=True).numpy()
    assert views.dtype == np.uint8
    assert views.shape == (8, 16, 18, 1)
    assert set(np.unique(views)) == {0, 3, 7, 255}
    blended = transform_images(masks, transforms, size=(16, 18)).numpy()
    assert set(np.unique(blended)) > {0, 3, 7, 255}


def test_masks_move_as_their_images_do() -> None:
    images = np.zeros((16, 24, 24, 1), np.uint8)
    images[:, 6:15, 4:13] = 200
    transforms = draw_transforms(images, size=(20, 20), how=Augmentation(), seed=SEED)
    seen = transform_images(images, transforms, size=(20, 20)).numpy() > 100
    told = transform_images(images // 200, transforms, size=(20, 20), nearest=True).numpy() > 0
    # They may differ along the edge, where one is rounded and the other blended.
    assert (seen != told).mean() < 0.01
    assert told.any(axis=(1, 2)).all()
