from __future__ import annotations

import numpy as np
import pytest

from edgevision.training.augment import transform_images
from edgevision.training.windows import (
    WHOLE,
    BoxAugmentation,
    Window,
    draw_window,
    make_transform,
    move_boxes,
)

BOXES = np.array([[0.1, 0.2, 0.4, 0.6], [0.7, 0.7, 0.9, 0.95]], np.float32)


def test_the_whole_image_changes_nothing() -> None:
    moved, whole = move_boxes(BOXES, WHOLE, (64, 64))
    assert moved == pytest.approx(BOXES)
    assert whole.tolist() == [True, True]


def test_boxes_by_hand() -> None:
    # The upper left quarter: everything doubles, and the second box is outside.
    moved, whole = move_boxes(BOXES, Window(height=0.5, width=0.5), (64, 64))
    assert moved[0] == pytest.approx([0.2, 0.4, 0.8, 1.0])
    assert whole.tolist() == [True, False]
    assert float((moved[1, 2:] - moved[1, :2]).prod()) == 0


def test_mirrored_boxes_change_left_and_right() -> None:
    moved, _ = move_boxes(BOXES, Window(mirrored=True), (64, 64))
    assert moved[0] == pytest.approx([0.1, 1 - 0.6, 0.4, 1 - 0.2])


def test_a_box_that_becomes_too_small_or_is_cut_in_half_is_not_whole() -> None:
    boxes = np.array([[0.0, 0.0, 0.02, 0.5], [0.3, 0.0, 0.8, 0.5]], np.float32)
    _, whole = move_boxes(boxes, Window(height=0.5), (64, 64))
    # 0.04 of 64 pixels is below 3; the other one's centre lies at 0.55, below the window.
    assert whole.tolist() == [False, False]


def test_pixels_and_boxes_stay_together() -> None:
    """A bright rectangle is found again where its box says, whatever the view."""
    pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    how, size, source = BoxAugmentation(), (48, 64), (96, 80)
    for _ in range(25):
        top, left = rng.uniform(0.2, 0.5, 2)
        box = np.array([[top, left, top + 0.3, left + 0.25]], np.float32)
        image = np.zeros((1, *source, 1), np.float32)
        y0, x0, y1, x1 = np.round(box[0] * np.array(source * 2)).astype(int)
        image[0, y0:y1, x0:x1] = 1.0
        exact = np.array([[y0, x0, y1, x1]], np.float32) / np.array(source * 2, np.float32)
        window = draw_window(exact, how, rng)
        moved, whole = move_boxes(exact, window, size)
        assert whole.all()
        row = make_transform(window, source, size)
        view = np.asarray(transform_images(image, row[None], size=size, fill=0.0))[0, ..., 0]
        rows, columns = np.nonzero(view > 0.5)
        found = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
        assert found / np.array(size * 2) == pytest.approx(moved[0], abs=1.2 / 48)


def test_crops_keep_an_object_and_expansion_shows_gray_around() -> None:
    rng = np.random.default_rng(1)
    crop_only = BoxAugmentation(expand_share=0.0, crop_share=1.0, flip=False)
    for _ in range(50):
        window = draw_window(BOXES, crop_only, rng)
        _, whole = move_boxes(BOXES, window, (256, 256))
        assert whole.any()
        assert window.top >= 0
        assert window.top + window.height <= 1 + 1e-6
    expand_only = BoxAugmentation(expand_share=1.0, crop_share=0.0)
    window = draw_window(BOXES, expand_only, rng)
    assert window.height > 1
    assert window.top < 0


def test_an_image_without_boxes_is_shown_too() -> None:
    window = draw_window(np.zeros((0, 4), np.float32), BoxAugmentation(), np.random.default_rng(2))
    moved, whole = move_boxes(np.zeros((0, 4), np.float32), window, (32, 32))
    assert moved.shape == (0, 4)
    assert whole.shape == (0,)
