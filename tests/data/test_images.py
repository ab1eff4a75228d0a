from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.data.images import decode_image, list_images
from edgevision.errors import DataError, MissingFileError


@pytest.fixture
def photo() -> np.ndarray:
    """A smooth (40, 60, 3) picture whose corners all differ."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 3], axis=2).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_is_exact_from_path_bytes_image_and_array(photo: np.ndarray, tmp_path: Path) -> None:
    data = encode(Image.fromarray(photo), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), Image.fromarray(photo), photo):
        pixels = decode_image(source)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert np.array_equal(pixels, photo)


def test_array_that_fits_is_not_copied(photo: np.ndarray) -> None:
    assert np.shares_memory(decode_image(photo), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(photo: np.ndarray, orientation: int) -> None:
    # How a camera held that way would have stored the upright picture (CIPA DC-008).
    stored = {
        1: photo,
        2: photo[:, ::-1],
        3: photo[::-1, ::-1],
        4: photo[::-1],
        5: photo.transpose(1, 0, 2),
        6: np.rot90(photo, 1),
        7: np.rot90(photo, 2).transpose(1, 0, 2),
        8: np.rot90(photo, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        data = encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
        assert np.array_equal(decode_image(data), photo), kind


def test_damaged_exif_counts_as_upright(photo: np.ndarray) -> None:
    data = encode(Image.fromarray(photo), "PNG", exif=b"Exif\x00\x00not a TIFF header at all")
    assert np.array_equal(decode_image(data), photo)


def test_gray_palette_and_binary(photo: np.ndarray) -> None:
    gray = Image.fromarray(photo).convert("L")
    expected = np.repeat(np.asarray(gray)[:, :, None], 3, axis=2)
    assert np.array_equal(decode_image(encode(gray, "PNG")), expected)
    palette = Image.fromarray(photo).quantize(16)
    assert np.array_equal(decode_image(encode(palette, "PNG")), np.asarray(palette.convert("RGB")))
    binary = Image.fromarray(photo[:, :, 0] > 100)
    assert set(np.unique(decode_image(encode(binary, "PNG")))) == {0, 255}


def test_cmyk_jpeg_is_not_inverted(photo: np.ndarray) -> None:
    # Pillow writes the Adobe marker, which means inverted inks.
    data = encode(Image.fromarray(photo).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(decode_image(data).astype(int) - photo).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 255, 256, 0x1234, 40_000, 65_535]], np.uint16)
    pixels = decode_image(encode(Image.fromarray(values), kind))
    assert pixels[0, :, 0].tolist() == [0, 0, 1, 0x12, 40_000 // 256, 255]
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_float_image_is_refused() -> None:
    data = encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(DataError, match="8-bit or 16-bit"):
        decode_image(data)


def test_alpha_is_dropped(photo: np.ndarray) -> None:
    alpha = np.zeros((*photo.shape[:2], 1), np.uint8)
    rgba = np.concatenate([photo, alpha], axis=2)
    assert np.array_equal(decode_image(encode(Image.fromarray(rgba), "PNG")), photo)
    assert np.array_equal(decode_image(rgba), photo)


def test_first_frame_of_an_animation(photo: np.ndarray) -> None:
    first, second = Image.fromarray(photo), Image.fromarray(255 - photo)
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert np.abs(decode_image(data).astype(int) - photo).mean() < 12


def test_one_pixel() -> None:
    assert decode_image(encode(Image.new("RGB", (1, 1), (9, 8, 7)), "PNG")).tolist() == [
        [[9, 8, 7]]
    ]


@pytest.mark.parametrize(
    ("array", "first"),
    [
        (np.full((2, 3), 7, np.uint8), 7),
        (np.full((2, 3, 1), 7, np.uint8), 7),
        (np.full((2, 3, 3), 0x0700, np.uint16), 7),
        (np.ones((2, 3), np.bool_), 255),
    ],
)
def test_arrays_of_other_kinds(array: np.ndarray, first: int) -> None:
    pixels = decode_image(array)
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0, 0] == first


@pytest.mark.parametrize(
    "array",
    [
        np.ones((2, 3, 3), np.float32),
        np.ones((2, 3, 3), np.int64),
        np.ones((3, 5, 7), np.uint8),
        np.ones((1, 2, 3, 3), np.uint8),
        np.ones((0, 3, 3), np.uint8),
    ],
)
def test_arrays_that_say_too_little_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError):
        decode_image(array)


def test_other_types_are_refused() -> None:
    with pytest.raises(DataError, match="type=int"):
        decode_image(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("BMP", {})],
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_file_is_an_error(tmp_path: Path, kind: str, options: dict, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), kind, **options)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        decode_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"no image", os.urandom(500), b"\xff\xd8\xff\xe0", b"GIF89a"]
)
def test_other_content_is_an_error_that_names_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "text.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"text\.jpg"):
        decode_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.jpg"):
        decode_image(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="folder"):
        decode_image(tmp_path)


def test_decompression_bomb_is_our_error(tmp_path: Path) -> None:
    # The header alone must be enough to refuse it.
    path = tmp_path / "huge.pgm"
    path.write_bytes(b"P5 20000 20000 255\n")
    with pytest.raises(DataError, match=r"too many pixels .*huge\.pgm"):
        decode_image(path)


def test_list_images_is_recursive_sorted_and_skips_hidden(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a/b/c.webp", ".hidden.jpg", ".cache/x.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [f.relative_to(tmp_path).as_posix() for f in list_images(tmp_path)]
    assert found == ["a/b/c.webp", "a/z.png", "b.JPG"]


def test_list_images_survives_link_loops(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jpg").touch()
    (tmp_path / "a/loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert list_images(tmp_path) == [tmp_path / "a/x.jpg"]


def test_list_images_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds nothing"):
        list_images(tmp_path)
    (tmp_path / "photo.heic").touch()
    with pytest.raises(DataError, match=r"1 of \.heic"):
        list_images(tmp_path)
    with pytest.raises(DataError, match="folder of images"):
        list_images(tmp_path / "photo.heic")
    with pytest.raises(MissingFileError):
        list_images(tmp_path / "none")


def test_real_images_decode(real_data: Path) -> None:
    for folder in ("images", "imagenet/calibration"):
        for file in list_images(real_data / folder):
            pixels = decode_image(file)
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
