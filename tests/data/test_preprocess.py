from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevision.contract import Preprocessing
from edgevision.data.images import decode_image, list_images
from edgevision.data.preprocess import Preprocessor, crop_box, quantize_pixels
from edgevision.errors import DataError, InvalidConfigError, InvalidModelError
from edgevision.specs import Quantization, TensorSpec

RAW = Preprocessing(mean=(0.0,), std=(1.0,))


def spec(
    shape: tuple[int, ...] = (1, 8, 8, 3),
    dtype: str = "float32",
    quantization: tuple[float, int] | None = None,
) -> TensorSpec:
    pair = quantization and Quantization(scales=quantization[:1], zero_points=quantization[1:])
    return TensorSpec(name="image", shape=shape, dtype=dtype, quantization=pair or None)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def as_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (64, 96)])
def test_stretch_is_pillows_bilinear(image: np.ndarray, size: tuple[int, int]) -> None:
    pixels = Preprocessor(RAW, spec((1, *size, 3))).resize(image)
    assert np.array_equal(pixels, as_pillow(image, size))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.875, 1.0])
def test_square_crop_is_cut_before_it_is_resized(image: np.ndarray, fraction: float) -> None:
    height, width = image.shape[:2]
    side = int(min(width, height) * fraction)
    left, top = (width - side) // 2, (height - side) // 2
    cut = Image.fromarray(image).crop((left, top, left + side, top + side))
    rule = Preprocessing(resize="crop", crop_fraction=fraction)
    assert np.array_equal(
        Preprocessor(rule, spec()).resize(image),
        np.asarray(cut.resize((8, 8), Image.Resampling.BILINEAR)),
    )


def test_rectangular_crop_has_the_inputs_aspect() -> None:
    assert crop_box((100, 100), (50, 100), 1.0) == (25, 0, 50, 100)
    assert crop_box((100, 400), (50, 100), 0.5) == (25, 150, 50, 100)
    assert crop_box((1, 1), (224, 224), 0.01) == (0, 0, 1, 1)


def test_letterbox_keeps_the_aspect_on_black() -> None:
    rule = Preprocessing(resize="letterbox")
    pixels = Preprocessor(rule, spec()).resize(np.full((4, 8, 3), 200, np.uint8))
    assert pixels[:, 0, 0].tolist() == [0] * 2 + [200] * 4 + [0] * 2


@pytest.mark.parametrize("rule", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_extreme_shapes(rule: str, shape: tuple[int, int]) -> None:
    pixels = Preprocessor(Preprocessing(resize=rule), spec()).resize(
        np.zeros((*shape, 3), np.uint8)
    )
    assert pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("rule", ["stretch", "crop", "letterbox"])
def test_image_that_fits_is_not_resized(rule: str) -> None:
    fitting = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pixels = Preprocessor(Preprocessing(resize=rule), spec()).resize(fitting)
    assert np.shares_memory(pixels, fitting)


def test_float_is_the_formula_exactly(image: np.ndarray) -> None:
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    pixels = as_pillow(image, (8, 8))
    expected = (pixels.astype(np.float32) - np.float32(mean)) / np.float32(std)
    preprocess = Preprocessor(Preprocessing(mean=mean, std=std), spec())
    assert np.array_equal(preprocess(image)[0], expected)
    nchw = Preprocessor(Preprocessing(mean=mean, std=std), spec((1, 3, 8, 8)))
    assert np.array_equal(nchw(image)[0], expected.transpose(2, 0, 1))
    half = Preprocessor(Preprocessing(mean=mean, std=std), spec(dtype="float16"))
    assert half(image).dtype == np.float16
    assert np.array_equal(half(image)[0], expected.astype(np.float16))


def test_color_orders(image: np.ndarray) -> None:
    rgb = as_pillow(image, (8, 8))
    bgr = Preprocessor(Preprocessing(mean=(1, 2, 3), std=(1,), color="bgr"), spec())
    assert np.array_equal(bgr(image)[0], rgb[:, :, ::-1].astype(np.float32) - (1, 2, 3))
    luminance = np.asarray(Image.fromarray(rgb).convert("L"))[:, :, None]
    gray = Preprocessor(Preprocessing(mean=(0,), std=(1,), color="gray"), spec((1, 8, 8, 1)))
    assert np.array_equal(gray(image)[0], luminance)
    repeated = Preprocessor(Preprocessing(mean=(0,), std=(1,), color="gray"), spec())
    assert np.array_equal(repeated(image)[0], np.repeat(luminance, 3, axis=2))
    assert np.array_equal(Preprocessor(RAW, spec((1, 1, 8, 8)))(image)[0, 0], luminance[:, :, 0])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("means", [(120.0,), (123.0, 116.0, 103.0)])
@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (1, 3, 8, 8)])
def test_integer_inputs_are_quantized(
    image: np.ndarray, dtype: str, means: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    scale, zero_point = {"int8": (0.02, 3), "uint8": (0.02, 100), "int16": (1e-4, 0)}[dtype]
    preprocess = Preprocessor(
        Preprocessing(mean=means, std=(58.0,)), spec(shape, dtype, (scale, zero_point))
    )
    real = (as_pillow(image, (8, 8)) - np.array(means)) / 58.0
    limits = np.iinfo(dtype)
    expected = np.clip(np.round(real / scale) + zero_point, limits.min, limits.max)
    result = preprocess(image)
    assert result.dtype == dtype
    assert result.shape == shape
    result = result[0] if shape[3] == 3 else result[0].transpose(1, 2, 0)
    assert np.abs(result - expected).max() <= 1
    assert np.mean(result != expected) < 0.01


def test_ties_keep_256_codes() -> None:
    # (p - 127.5) / 127.5 / (2 / 255) = p - 127.5: every pixel value is a tie.
    stored_scale = float(np.float32(2 / 255))
    (codes,) = quantize_pixels(Preprocessing(), spec(dtype="int8", quantization=(stored_scale, -1)))
    assert np.array_equal(codes, np.arange(256) - 128)
    (codes,) = quantize_pixels(
        Preprocessing(), spec(dtype="uint8", quantization=(stored_scale, 127))
    )
    assert np.array_equal(codes, np.arange(256))


def test_tiny_scale_is_clipped_not_wrapped() -> None:
    (codes,) = quantize_pixels(RAW, spec(dtype="int32", quantization=(1e-30, 0)))
    assert codes[255] == 2**31 - 1


def test_uint8_that_is_a_step_off_stores_the_pixels_themselves() -> None:
    # (255 - 127.5) / 127.5 * 128 + 128 = 256, where the training had put in 255.
    stored = spec(dtype="uint8", quantization=(1 / 128, 128))
    (codes,) = quantize_pixels(Preprocessing(), stored)
    assert np.array_equal(codes, np.arange(256))
    (codes,) = quantize_pixels(Preprocessing(mean=(120,)), stored)
    assert codes[100] == round((100 - 120) / 127.5 * 128 + 128)


@pytest.mark.parametrize(("dtype", "offset"), [("uint8", 0), ("int8", -128), ("int32", 0)])
def test_integers_without_quantization_take_raw_pixels(dtype: str, offset: int) -> None:
    image = np.full((8, 8, 3), 200, np.uint8)
    assert (Preprocessor(Preprocessing(), spec(dtype=dtype))(image) == 200 + offset).all()


def test_buffer_is_reused_and_fill_copies(image: np.ndarray) -> None:
    preprocess = Preprocessor(RAW, spec())
    out = np.zeros((8, 8, 3), np.float32)
    preprocess.fill(image, out)
    assert preprocess(image) is preprocess(image)
    preprocess(np.zeros_like(image))
    assert out.any()


def test_fixed_batch_is_filled_with_copies(image: np.ndarray) -> None:
    result = Preprocessor(RAW, spec((3, 8, 8, 3)))(image)
    assert np.array_equal(result[2], result[0])
    assert Preprocessor(RAW, spec((-1, 8, 8, 3)))(image).shape == (1, 8, 8, 3)


def test_geometry_maps_boxes_both_ways() -> None:
    letterbox = Preprocessor(Preprocessing(resize="letterbox"), spec((1, 100, 100, 3)))
    geometry = letterbox.geometry((200, 400, 3))
    # Scale 4, 50 rows of image between two bars of 25.
    assert geometry.to_original(np.array([[25, 0, 75, 100]])).tolist() == [[0, 0, 200, 400]]
    assert geometry.to_original(np.array([[0, 0, 100, 100]])).tolist() == [[0, 0, 200, 400]]
    assert geometry.to_input(np.array([[0, 0, 200, 400]])).tolist() == [[25, 0, 75, 100]]
    crop = Preprocessor(Preprocessing(resize="crop"), spec((1, 100, 100, 3)))
    assert crop.geometry((200, 400)).to_original(np.array([[0, 0, 100, 100]])).tolist() == [
        [0, 100, 200, 300]
    ]
    stretch = Preprocessor(RAW, spec((1, 100, 100, 3)))
    box = np.array([[10, 20, 50, 60]])
    assert stretch.geometry((200, 400)).to_original(box).tolist() == [[20, 80, 100, 240]]


@pytest.mark.parametrize(
    "shape", [(1, 3), (1, 8, 8, 4), (1, -1, -1, 3), (1, 3, -1, 8), (1, 8, 8), (1, 0, 8, 3)]
)
def test_inputs_that_are_no_image_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidModelError):
        Preprocessor(RAW, spec(shape))


def test_other_refusals(image: np.ndarray) -> None:
    with pytest.raises(InvalidModelError, match="dtype=bool"):
        Preprocessor(RAW, spec(dtype="bool"))
    with pytest.raises(InvalidModelError, match="one scale"):
        Preprocessor(RAW, spec(dtype="int8", quantization=(0.0, 0)))
    with pytest.raises(InvalidConfigError, match="one-channel"):
        Preprocessor(Preprocessing(mean=(1, 2, 3)), spec((1, 9, 9, 1)))
    preprocess = Preprocessor(RAW, spec())
    for wrong in (image.astype(np.float32), image[:, :, 0], image[:0]):
        with pytest.raises(DataError):
            preprocess.resize(wrong)
    with pytest.raises(DataError, match="call resize first"):
        preprocess.normalize(image)


def test_real_images_match_an_independent_reading(real_data: Path) -> None:
    preprocess = Preprocessor(
        Preprocessing(resize="crop", crop_fraction=0.875), spec((1, 224, 224, 3))
    )
    for file in list_images(real_data / "imagenet/calibration")[::10]:
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        width, height = photo.size
        side = int(min(width, height) * 0.875)
        left, top = (width - side) // 2, (height - side) // 2
        cut = photo.crop((left, top, left + side, top + side))
        expected = np.asarray(cut.resize((224, 224), Image.Resampling.BILINEAR))
        assert np.array_equal(preprocess.resize(decode_image(file)), expected)
