from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from annotated import add_image
from PIL import Image, PngImagePlugin

from edgevision.data.headers import ImageHeader, read_header, read_headers, turn_boxes
from edgevision.data.images import decode_image, turn_upright
from edgevision.errors import DataError, MissingFileError


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_tells_what_decoding_returns(tmp_path: Path, suffix: str, orientation: int) -> None:
    file = add_image(tmp_path / f"a.{suffix}", (20, 30), orientation)
    header = read_header(file)
    assert header == ImageHeader((20, 30), orientation)
    assert header.upright_size == decode_image(file).shape[:2]


def test_orientation_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    file = add_image(tmp_path / "a.png", (20, 30))
    data = file.read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    end = data.rindex(b"IEND") - 4
    chunks: list[bytes] = []
    PngImagePlugin.putchunk(_Writer(chunks), b"eXIf", exif.tobytes()[6:])
    file.write_bytes(data[:end] + b"".join(chunks) + data[end:])
    assert decode_image(file).shape == (30, 20, 3)
    assert read_header(file) == ImageHeader((20, 30), 6)


class _Writer:
    def __init__(self, chunks: list[bytes]) -> None:
        self.write = chunks.append


def test_out_of_range_orientation_is_upright(tmp_path: Path) -> None:
    file = add_image(tmp_path / "a.jpg", (20, 30), orientation=9)
    assert read_header(file).orientation == 1


def test_unreadable_files_are_told_in_order(tmp_path: Path) -> None:
    good = add_image(tmp_path / "good.jpg")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    results = list(read_headers([bad, good, tmp_path / "none.jpg"]))
    assert isinstance(results[0], DataError)
    assert "bad.jpg" in str(results[0])
    assert results[1] == ImageHeader((40, 60))
    assert isinstance(results[2], MissingFileError)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pixels_do(orientation: int) -> None:
    pixels = np.zeros((10, 20), np.uint8)
    pixels[2:5, 6:14] = 1
    rows, columns = np.nonzero(turn_upright(pixels, orientation))
    expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    boxes = turn_boxes(np.array([[2.0, 6, 5, 14], [0, 0, 10, 20]]), (10, 20), orientation)
    assert boxes[0].tolist() == expected
    assert boxes[1].tolist() == [0, 0, *turn_upright(pixels, orientation).shape]


def test_only_annotations_of_the_stored_size_are_turned() -> None:
    header = ImageHeader((40, 60), 8)
    assert header.find_turn((40, 60)) == 8
    assert header.find_turn((60, 40)) == header.find_turn((1, 2)) == header.find_turn(None) == 1
    assert ImageHeader((40, 40), 8).find_turn((40, 40)) == 1
    assert ImageHeader((40, 60), 3).find_turn((40, 60)) == 1
