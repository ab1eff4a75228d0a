"""The vocabulary that every part shares: enumerations and frozen value types, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from edgevision.errors import InvalidConfigError

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; a new stage name starts a new bar."""


class Task(StrEnum):
    """What a model answers."""

    CLASSIFY = "classify"
    DETECT = "detect"
    SEGMENT = "segment"


class Part(StrEnum):
    """A part of a data set."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class ModelFormat(StrEnum):
    """File formats of a deployed or trained model."""

    TFLITE = "tflite"
    ONNX = "onnx"
    KERAS = "keras"
    H5 = "h5"
    SAVED_MODEL = "saved_model"


class Precision(StrEnum):
    """Weight precision of a converted float file."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class Scheme(StrEnum):
    """Post-training quantization schemes."""

    INT8 = "int8"
    INT8_PER_TENSOR = "int8-per-tensor"
    INT16X8 = "int16x8"
    DYNAMIC = "dynamic"
    FLOAT16 = "float16"
    EDGETPU = "edgetpu"


class Lift(StrEnum):
    """What activations that need more than 8 bits are lifted to."""

    FLOAT = "float"
    INT16 = "int16"


class RangeMethod(StrEnum):
    """How the range of an activation is chosen from the values seen."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    ENTROPY = "entropy"
    MSE = "mse"
    AUTO = "auto"


class Device(StrEnum):
    """Where a model runs."""

    CPU = "cpu"
    GPU = "gpu"
    EDGETPU = "edgetpu"


class ResizeRule(StrEnum):
    """How an image of any size becomes the model's input size."""

    STRETCH = "stretch"
    CROP = "crop"
    LETTERBOX = "letterbox"


class ColorOrder(StrEnum):
    """Channel order of the model's input."""

    RGB = "rgb"
    BGR = "bgr"
    GRAY = "gray"


class Layout(StrEnum):
    """Axis order of image tensors."""

    NHWC = "nhwc"
    NCHW = "nchw"


class ScoreKind(StrEnum):
    """What the scores of a model are."""

    PROBABILITIES = "probabilities"
    LOGITS = "logits"


class Heads(StrEnum):
    """In what a converted detector ends."""

    NMS = "nms"
    RAW = "raw"


class Upsampling(StrEnum):
    """How the decoder of a U-Net doubles the resolution."""

    BILINEAR = "bilinear"
    TRANSPOSED = "transposed"


Choice = TypeVar("Choice", bound=StrEnum)


def parse_choice(kind: type[Choice], value: str, name: str) -> Choice:
    """Turn a text into a member of an enumeration; members pass through.

    Args:
        kind: The enumeration.
        value: What the caller wrote.
        name: Of the option, for the error message.

    Raises:
        InvalidConfigError: There is no such member; the message lists those that exist.

    >>> parse_choice(Device, "gpu", "device") is Device.GPU
    True
    >>> parse_choice(Device, "toaster", "device")
    Traceback (most recent call last):
    edgevision.errors.InvalidConfigError: no such device (device=toaster): use cpu, gpu or edgetpu
    """
    try:
        return kind(value)
    except ValueError as error:
        *others, last = kind
        raise InvalidConfigError(
            f"no such {name}",
            received=f"{name}={value}",
            remedy=f"use {', '.join(others)} or {last}",
        ) from error


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization of a tensor: ``real = scale * (stored - zero_point)``.

    Attributes:
        scales: One scale, or one per index of ``axis``.
        zero_points: As many as ``scales``.
        axis: The quantized dimension of a per-channel tensor, otherwise ``None``.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    @property
    def per_channel(self) -> bool:
        """Whether there is a scale for each index of ``axis``."""
        return self.axis is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a session.

    Attributes:
        name: Name in the file, or in its signature where it has one.
        shape: Static shape; a dynamic dimension is -1.
        dtype: NumPy name of the element type (``float32``, ``int8``, ``uint8`` …).
        quantization: Affine parameters of an integer tensor, otherwise ``None``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
