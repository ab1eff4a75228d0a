"""From RGB pixels of any size to the exact tensor that a model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Preprocessing
from edgevision.errors import DataError, InvalidConfigError, InvalidModelError
from edgevision.specs import ColorOrder, Layout, ResizeRule, TensorSpec

_FLOAT_DTYPES = ("float16", "float32", "float64")
_INTEGER_DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "int64")
_PAD_VALUE = 0
# A scale is stored as float32, so that a tie comes out a little below or above one half.
_TIE_TOLERANCE = 2.0**-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where a resized image lies in its original: ``(input - offset) * scale``, for each axis.

    Attributes:
        image_size: (height, width) of the original, pixels.
        scale: Original pixels per input pixel, (y, x).
        offset: Position of the original's upper left corner in the input, (y, x) in input pixels;
            above 0 where the input is padded, below 0 where the original was cropped.
    """

    image_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_original(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """Map boxes from the input to the original image, and clip them to it.

        Args:
            boxes: (N, 4), ymin xmin ymax xmax in input pixels.

        Returns:
            (N, 4) float32, ymin xmin ymax xmax in original pixels.
        """
        moved = (np.asarray(boxes, np.float64) - (self.offset * 2)) * (self.scale * 2)
        return np.clip(moved, 0, self.image_size * 2).astype(np.float32)

    def to_input(self, boxes: NDArray[Any]) -> NDArray[np.float32]:
        """Map boxes from the original image to the input; they may reach beyond it.

        Args:
            boxes: (N, 4), ymin xmin ymax xmax in original pixels.

        Returns:
            (N, 4) float32, ymin xmin ymax xmax in input pixels.
        """
        moved = np.asarray(boxes, np.float64) / (self.scale * 2) + (self.offset * 2)
        return moved.astype(np.float32)


class Preprocessor:
    """Resizes and normalizes images for one model input.

    Calling it returns its own buffer: **the result is valid until the next call**. Hence not
    thread-safe; give every thread its own.

    Bilinear resizing is Pillow's (antialiased when it shrinks), and follows the contract:
    ``stretch``; ``crop`` (centred, offsets rounded down, cropped before it is resized); or
    ``letterbox`` (centred on black). Then ``(pixel - mean) / std`` in float32, with mean and std in
    the model's own channel order. Integer inputs are
    quantized by the input's scale and zero point: rounded to nearest, ties up, clipped. Ties are
    the normal case (scale 2/255 for the range −1 to 1), and rounding them up keeps 256 pixel
    values 256 different codes, where ties to even would merge a quarter of them.

    An integer input without quantization takes raw pixels (int8: pixel − 128), whatever the mean.
    A one-channel input takes the luminance (ITU-R 601-2); ``gray`` on a three-channel input
    repeats it. A fixed batch above 1 is filled with copies.

    Args:
        preprocessing: The model's contract.
        input: The model's input: rank 4, NHWC or NCHW, 1 or 3 channels, static height and width.

    Raises:
        InvalidModelError: The input is no image of fixed size.
        InvalidConfigError: Three means or stds for an input of one channel.

    >>> spec = TensorSpec(name="x", shape=(1, 2, 2, 3), dtype="float32")
    >>> preprocess = Preprocessor(Preprocessing(mean=(127.5,), std=(127.5,)), spec)
    >>> preprocess(np.full((8, 8, 3), 255, np.uint8))[0, 0, 0].tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, preprocessing: Preprocessing, input: TensorSpec) -> None:  # noqa: A002
        self.preprocessing = preprocessing
        self.input = input
        self.layout, self.size, self.channels = _read_shape(input)
        batch = max(input.shape[0], 1)
        self._buffer = np.zeros((batch, *input.shape[1:]), _check_dtype(input))
        self._quantized = self._buffer.dtype.kind in "iu"
        _check_channels(preprocessing, self.channels)
        if self._quantized:
            self._tables = quantize_pixels(preprocessing, input)
            self._mask = _find_mask(self._tables)
        self._mean = _spread_row(preprocessing.mean, self.size[1] * self.channels)
        self._std = _spread_row(preprocessing.std, self.size[1] * self.channels)
        self._work = np.zeros((*self.size, self.channels), self._work_dtype())

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the input tensor for one image, (H, W, 3) uint8 RGB; valid until the next call."""
        return self.normalize(self.resize(image))

    def fill(self, image: NDArray[np.uint8], out: NDArray[Any]) -> None:
        """Write one image's tensor into ``out``, of the input's shape without the batch."""
        out[...] = self(image)[0]

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring an image to the input's height and width; this part is thread-safe.

        Args:
            image: (H, W, 3) uint8 RGB, as ``decode_image`` returns it.

        Returns:
            (height, width, 3) uint8 RGB; ``image`` itself, or a view, where it already fits.

        Raises:
            DataError: Not an array of that shape and dtype.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise DataError(
                "an image is (H, W, 3) uint8 RGB",
                received=f"shape={image.shape} dtype={image.dtype}",
                remedy="decode it with decode_image",
            )
        if self.preprocessing.resize is ResizeRule.LETTERBOX:
            return _letterbox(image, self.size)
        top, left, height, width = self._crop_box(image.shape[:2])
        return resize_bilinear(image[top : top + height, left : left + width], self.size)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Turn pixels of the right size into the input tensor; valid until the next call.

        Args:
            pixels: (height, width, 3) uint8 RGB, as ``resize`` returns it.

        Raises:
            DataError: The size is not the input's.
        """
        if pixels.shape != (*self.size, 3) or pixels.dtype != np.uint8:
            raise DataError(
                f"the input takes pixels of shape {(*self.size, 3)}, uint8",
                received=f"shape={pixels.shape} dtype={pixels.dtype}",
                remedy="call resize first",
            )
        ordered = np.ascontiguousarray(self._order_channels(pixels))
        direct = self.layout is Layout.NHWC and self._work.dtype == self._buffer.dtype
        work = self._buffer[0] if direct else self._work
        if self._quantized:
            self._look_up(ordered, work)
        else:
            self._scale(ordered, work)
        if not direct:
            self._buffer[0] = work.transpose(2, 0, 1) if self.layout is Layout.NCHW else work
        self._buffer[1:] = self._buffer[0]
        return self._buffer

    def geometry(self, image_shape: tuple[int, ...]) -> Geometry:
        """Tell how input pixels map to the pixels of an original of this (height, width, …)."""
        height, width = image_shape[:2]
        if self.preprocessing.resize is ResizeRule.LETTERBOX:
            top, left, inner_height, inner_width = letterbox_box((height, width), self.size)
            scale = (height / inner_height, width / inner_width)
            return Geometry(
                image_size=(height, width), scale=scale, offset=(float(top), float(left))
            )
        top, left, inner_height, inner_width = self._crop_box((height, width))
        scale = (inner_height / self.size[0], inner_width / self.size[1])
        offset = (-top / scale[0], -left / scale[1])
        return Geometry(image_size=(height, width), scale=scale, offset=offset)

    def _crop_box(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        if self.preprocessing.resize is ResizeRule.STRETCH:
            return 0, 0, shape[0], shape[1]
        return crop_box((shape[0], shape[1]), self.size, self.preprocessing.crop_fraction)

    def _work_dtype(self) -> np.dtype[Any]:
        return self._buffer.dtype if self._quantized else np.dtype(np.float32)

    def _order_channels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        color = self.preprocessing.color
        if self.channels == 1 or color is ColorOrder.GRAY:
            return np.broadcast_to(_take_luminance(pixels), (*self.size, self.channels))
        return pixels[:, :, ::-1] if color is ColorOrder.BGR else pixels

    def _scale(self, pixels: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        # Whole rows: NumPy is slow on an inner dimension of three channels. Copied first: the
        # arithmetic is fastest without a change of type.
        rows = out.reshape(self.size[0], -1)
        np.copyto(rows, pixels.reshape(rows.shape))
        np.subtract(rows, self._mean, out=rows)
        np.divide(rows, self._std, out=rows)

    def _look_up(self, pixels: NDArray[np.uint8], out: NDArray[Any]) -> None:
        if self._mask is not None:
            np.bitwise_xor(pixels, self._mask, out=out.view(np.uint8))
        elif len(self._tables) == 1:
            np.take(self._tables[0], pixels, out=out, mode="clip")
        else:
            for channel, table in enumerate(self._tables):
                out[:, :, channel] = np.take(table, pixels[:, :, channel], mode="clip")


def crop_box(
    image_size: tuple[int, int], size: tuple[int, int], fraction: float
) -> tuple[int, int, int, int]:
    """Find the centred crop of ``size``'s aspect ratio.

    Args:
        image_size: (height, width) of the image.
        size: (height, width) of the input.
        fraction: Share of the largest such crop, in (0, 1].

    Returns:
        (top, left, height, width), pixels; at least 1×1.

    >>> crop_box((300, 400), (224, 224), 0.875)
    (19, 69, 262, 262)
    """
    height, width = image_size
    inner_height = max(1, int(min(height, width * size[0] / size[1]) * fraction))
    inner_width = max(1, int(min(width, height * size[1] / size[0]) * fraction))
    return (height - inner_height) // 2, (width - inner_width) // 2, inner_height, inner_width


def resize_bilinear(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 as Pillow does; returned as it is where it already fits."""
    if image.shape[:2] == size:
        return image
    from PIL import Image

    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


def quantize_pixels(preprocessing: Preprocessing, spec: TensorSpec) -> tuple[NDArray[Any], ...]:
    """Tabulate the code that an integer input has for each of the 256 pixel values.

    Args:
        preprocessing: Mean and std.
        spec: The input; its quantization is per tensor, or ``None`` for raw pixels.

    Returns:
        One table (256,) of the input's dtype, or one per channel where mean or std differ.

    Raises:
        InvalidModelError: The input is quantized per channel, or its scale is not above 0.

    >>> from edgevision.specs import Quantization
    >>> quantization = Quantization(scales=(2 / 255,), zero_points=(-1,))
    >>> spec = TensorSpec(name="x", shape=(1, 9, 9, 3), dtype="int8", quantization=quantization)
    >>> quantize_pixels(Preprocessing(), spec)[0][[0, 1, 255]].tolist()
    [-128, -127, 127]
    """
    pixels = np.arange(256, dtype=np.float64)
    limits = np.iinfo(spec.dtype)
    if spec.quantization is None:
        raw = pixels - 128 if spec.dtype == "int8" else pixels
        return (raw.astype(spec.dtype),)
    scales, zero_points = spec.quantization.scales, spec.quantization.zero_points
    if len(scales) != 1 or len(zero_points) != 1 or not 0 < scales[0] < np.inf:
        raise InvalidModelError(
            "an input has one scale above 0 and one zero point",
            received=f"{spec.name}: scales={scales} zero_points={zero_points}",
        )
    channels = max(len(preprocessing.mean), len(preprocessing.std))
    codes = []
    for mean, std in zip(
        _repeat_row(preprocessing.mean, channels),
        _repeat_row(preprocessing.std, channels),
        strict=True,
    ):
        real = (pixels - float(mean)) / float(std)
        steps = np.floor(real / scales[0] + 0.5 + _TIE_TOLERANCE) + zero_points[0]
        # Clipped as float: the cast of a number beyond the integer's range is undefined.
        codes.append(np.clip(steps, float(limits.min), float(limits.max)).astype(spec.dtype))
    if spec.dtype == "uint8" and max(np.abs(row - pixels).max() for row in codes) <= 1:
        # Stored are the pixels themselves, and the mean and std of the file are those of the float
        # model (127.5 for a scale of 1/128): all readers of such files put the pixels in as they
        # are, and so did the training.
        return (pixels.astype(np.uint8),)
    return tuple(codes)


def _read_shape(spec: TensorSpec) -> tuple[Layout, tuple[int, int], int]:
    shape = spec.shape
    if len(shape) == 4 and shape[3] in (1, 3):
        layout, size, channels = Layout.NHWC, (shape[1], shape[2]), shape[3]
    elif len(shape) == 4 and shape[1] in (1, 3):
        layout, size, channels = Layout.NCHW, (shape[2], shape[3]), shape[1]
    else:
        raise InvalidModelError(
            "an image input has the shape (batch, height, width, 1 or 3) or (batch, 1 or 3, "
            "height, width)",
            received=f"{spec.name}: shape={shape}",
        )
    if min(size) < 1:
        raise InvalidModelError(
            "the input's height and width must be fixed",
            received=f"{spec.name}: shape={shape}",
            remedy="convert the model with a fixed input size",
        )
    return layout, size, channels


def _check_dtype(spec: TensorSpec) -> np.dtype[Any]:
    if spec.dtype not in _FLOAT_DTYPES + _INTEGER_DTYPES:
        raise InvalidModelError(
            "an image input holds floating-point or integer numbers",
            received=f"{spec.name}: dtype={spec.dtype}",
        )
    return np.dtype(spec.dtype)


def _check_channels(preprocessing: Preprocessing, channels: int) -> None:
    if max(len(preprocessing.mean), len(preprocessing.std)) > channels:
        raise InvalidConfigError(
            "a one-channel input takes one mean and one std",
            received=f"mean={preprocessing.mean} std={preprocessing.std}",
        )


def _repeat_row(values: tuple[float, ...], length: int) -> NDArray[np.float32]:
    """Repeat one value, or one per channel, over a row of ``length`` numbers."""
    return np.tile(np.array(values, np.float32), length // len(values))


def _spread_row(values: tuple[float, ...], length: int) -> NDArray[np.float32]:
    """Prepare a mean or std for arithmetic on rows; a single value needs no repeating."""
    return np.array(values, np.float32) if len(values) == 1 else _repeat_row(values, length)


def _find_mask(tables: tuple[NDArray[Any], ...]) -> np.uint8 | None:
    """Return the mask when the codes are the pixels with some bits flipped (raw, or minus 128)."""
    if len(tables) != 1 or tables[0].dtype.itemsize != 1:
        return None
    codes = tables[0].view(np.uint8)
    same = np.array_equal(codes, np.arange(256, dtype=np.uint8) ^ codes[0])
    return np.uint8(codes[0]) if same else None


def _take_luminance(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]


def letterbox_box(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of the resized image inside the input, pixels.

    >>> letterbox_box((300, 400), (200, 200))
    (25, 0, 150, 200)
    """
    scale = min(size[0] / image_size[0], size[1] / image_size[1])
    height = min(size[0], max(1, round(image_size[0] * scale)))
    width = min(size[1], max(1, round(image_size[1] * scale)))
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def _letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    top, left, height, width = letterbox_box((image.shape[0], image.shape[1]), size)
    if (height, width) == size:
        return resize_bilinear(image, size)
    canvas = np.full((*size, 3), _PAD_VALUE, np.uint8)
    canvas[top : top + height, left : left + width] = resize_bilinear(image, (height, width))
    return canvas
