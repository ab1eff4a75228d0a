from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.data.mask_files import MaskFile, read_mask
from edgevision.errors import DataError, MissingFileError

VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def save(image: Image.Image, file: Path, **options: object) -> Path:
    image.save(file, **options)
    return file


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16", "I"])
def test_values_survive_every_mode(tmp_path: Path, mode: str) -> None:
    gray = Image.fromarray(VALUES)
    if mode == "P":
        image = gray.copy()
        image.putpalette([255 - i % 256 for i in range(768)])
    elif mode in ("I;16", "I"):
        image = Image.fromarray(VALUES.astype(np.uint16 if mode == "I;16" else np.int32))
    else:
        image = gray.convert(mode)
    file = save(image, tmp_path / ("a.tiff" if mode == "I" else "a.png"))
    mask = read_mask(file)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, VALUES)


def test_one_bit_masks(tmp_path: Path) -> None:
    file = save(Image.fromarray(VALUES > 5), tmp_path / "a.png")
    assert np.array_equal(read_mask(file), VALUES > 5)


def test_palette_with_transparency_keeps_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(VALUES)
    image.putpalette([7] * 768)
    file = save(image, tmp_path / "a.png", transparency=0)
    assert np.array_equal(read_mask(file), VALUES)
    file = save(image, tmp_path / "a.gif")
    assert read_mask(file).shape == VALUES.shape


def test_lossy_masks_become_black_and_white(tmp_path: Path) -> None:
    values = np.zeros((40, 40), np.uint8)
    values[10:30, 10:30] = 255
    file = save(Image.fromarray(values), tmp_path / "a.JPG", quality=60)
    assert np.unique(np.asarray(Image.open(file))).size > 2
    assert np.array_equal(read_mask(file), values)


def test_what_is_no_mask(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"not colours .*a\.png"):
        read_mask(save(color, tmp_path / "a.png"))
    deep = Image.fromarray(np.full((3, 4), 300, np.uint16))
    with pytest.raises(DataError, match=r"from 0 to 255 .*a\.png.*up to 300"):
        read_mask(save(deep, tmp_path / "a.png"))
    real = Image.fromarray(np.ones((3, 4), np.float32))
    with pytest.raises(DataError, match=r"from 0 to 255 .*mode F"):
        read_mask(save(real, tmp_path / "a.tiff"))
    with pytest.raises(MissingFileError, match="no such mask"):
        read_mask(tmp_path / "none.png")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.png"):
        read_mask(tmp_path / "b.png")


def test_table_and_turn(tmp_path: Path) -> None:
    file = save(Image.fromarray(VALUES), tmp_path / "a.png")
    table = np.full(256, 255, np.uint8)
    table[:3] = (5, 6, 7)
    mask = MaskFile(file=file, table=table, turn=3).load()
    assert mask[-1].tolist() == [255, 7, 6, 5]
