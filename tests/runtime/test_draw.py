from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgevision.errors import InvalidConfigError
from edgevision.runtime.draw import draw_classification, save_annotated
from edgevision.runtime.results import Classification, Prediction

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
