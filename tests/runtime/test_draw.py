from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgevision.errors import DataError, InvalidConfigError
from edgevision.runtime.draw import (
    draw_answer,
    draw_classification,
    draw_detections,
    draw_segmentation,
    save_annotated,
    save_mask,
)
from edgevision.runtime.palette import pick_color
from edgevision.runtime.results import Classification, Detections, Prediction, Segmentation

LABELS = ("background", "cat", "dog")
ANSWER = Classification(predictions=(Prediction(label="Tür", index=0, score=0.5),))


def test_only_the_corner_changes():
    image = np.full((200, 300, 3), 128, np.uint8)
    drawn = np.asarray(draw_classification(image, ANSWER))
    assert drawn.shape == image.shape
    assert (drawn[:20, :40] != 128).any()
    assert (drawn[100:] == 128).all()


def test_empty_answer_leaves_the_image(photo):
    drawn = draw_classification(photo, Classification(predictions=()))
    np.testing.assert_array_equal(np.asarray(drawn), photo)


def test_saved_in_the_format_of_its_name(photo, tmp_path):
    save_annotated(photo, ANSWER, tmp_path / "out/answer.jpg")
    with Image.open(tmp_path / "out/answer.jpg") as saved:
        assert (saved.format, saved.size) == ("JPEG", (30, 20))


def test_unknown_format_leaves_nothing(photo, tmp_path):
    with pytest.raises(InvalidConfigError, match="image format"):
        save_annotated(photo, ANSWER, tmp_path / "answer.nothing")
    assert list(tmp_path.iterdir()) == []


def make_detections(*boxes, size=(200, 300)):
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(count, 0.5, np.float32),
        classes=np.arange(count),
        labels=tuple(f"thing {i}" for i in range(count)),
        image_size=size,
    )


@pytest.mark.parametrize("gray", [0, 128, 255])
def test_box_has_its_colour_and_an_empty_inside(gray):
    image = np.full((200, 300, 3), gray, np.uint8)
    drawn = np.asarray(draw_detections(image, make_detections((80, 60, 180, 250))))
    assert drawn[130, 60].tolist() == list(pick_color(0))
    assert drawn[180, 150].tolist() == list(pick_color(0))
    assert (drawn[90:170, 80:240] == gray).all()
    assert (drawn[:60, :50] == gray).all()
    assert (drawn[60:78, 62:90] != gray).any()  # the label stands above


def test_boxes_at_the_edges_can_be_drawn():
    image = np.zeros((40, 30, 3), np.uint8)
    answer = make_detections((0, 0, 40, 30), (0, 0, 1, 1), (39, 29, 40, 30), size=(40, 30))
    assert draw_detections(image, answer).size == (30, 40)


def test_labels_evade_each_other():
    image = np.zeros((200, 300, 3), np.uint8)
    answer = make_detections((100, 50, 150, 200), (100, 50, 150, 200))
    drawn = np.asarray(draw_detections(image, answer)).reshape(-1, 3)
    for index in range(2):
        # Much more than its outline: both plates are there.
        assert (drawn == pick_color(index)).all(axis=1).sum() > 400


def test_nothing_found_leaves_the_image(photo):
    drawn = draw_answer(photo, make_detections())
    np.testing.assert_array_equal(np.asarray(drawn), photo)


def test_classes_are_tinted_and_background_is_not():
    image = np.full((300, 300, 3), 200, np.uint8)
    mask = np.zeros((300, 300), np.uint8)
    mask[150:, 150:] = 2
    drawn = np.asarray(draw_segmentation(image, Segmentation(mask=mask, labels=LABELS)))
    expected = np.rint(0.55 * 200 + 0.45 * np.array(pick_color(1)))
    np.testing.assert_array_equal(drawn[250, 250], expected)
    assert drawn[150, 250].tolist() == list(pick_color(1))  # the outline
    assert (drawn[149, 250] < 200).all()  # the dark line around it
    assert (drawn[200, :100] == 200).all()


def test_what_was_not_seen_is_dark():
    mask = np.zeros((60, 60), np.uint8)
    mask[:, :20] = 255
    image = np.full((60, 60, 3), 200, np.uint8)
    drawn = np.asarray(draw_segmentation(image, Segmentation(mask=mask, labels=LABELS)))
    assert drawn[30, 5].tolist() == [70, 70, 70]
    assert drawn[30, 50].tolist() == [200, 200, 200]


def test_mask_of_another_size_is_refused(photo):
    with pytest.raises(DataError, match="size of its image"):
        draw_answer(photo, Segmentation(mask=np.zeros((3, 3), np.uint8), labels=LABELS))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_saved_mask_holds_class_numbers(tmp_path, dtype):
    mask = np.array([[0, 1], [2, 255]], dtype)
    save_mask(Segmentation(mask=mask, labels=LABELS), tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), mask)
        assert saved.mode == ("P" if dtype is np.uint8 else "I;16")
        if saved.mode == "P":
            assert saved.convert("RGB").getpixel((1, 0)) == pick_color(0)
