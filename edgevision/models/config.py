"""What a caller may choose about a network; the family decides the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.models.net import Activation, PoolKind
from edgevision.specs import Task, Upsampling

MIN_INPUT_SIZE = 32
OUTPUT_STRIDES = (16, 32)

DEFAULT_ACTIVATION = "default"
"""Stands for the function that ``ACTIVATIONS`` gives the task; ``None`` stands for logits."""

ACTIVATIONS: Mapping[Task, Activation] = MappingProxyType(
    {
        Task.CLASSIFY: Activation.SOFTMAX,
        Task.DETECT: Activation.SIGMOID,
        Task.SEGMENT: Activation.LINEAR,
    }
)

NUM_CLASSES: Mapping[Task, int] = MappingProxyType(
    {Task.CLASSIFY: 1000, Task.DETECT: 90, Task.SEGMENT: 21}
)
"""Classes of ImageNet, of COCO's detection labels, and of Pascal VOC with its background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """The choices behind one network.

    Attributes:
        alpha: Width multiplier; each family rounds channels as its paper does.
        input_size: ``(height, width)`` in pixels, at least 32 each.
        channels: Channels of the input image.
        num_classes: Outputs of a classifier, object classes of a detector (its background not
            counted), or classes of a segmenter (the background counted); at least 1.
        dropout: Rate before the classifier, in [0, 1).
        classifier_activation: What makes the scores: ``softmax``, ``sigmoid`` or ``linear``
            (logits).
        include_top: Whether the classifier is there; without it the features come out.
        pooling: Without the classifier: how the last feature map is pooled, ``None`` for the map.
        output_stride: 32, or 16 where the last stage dilates instead of stepping (Chen et al.
            2017, arXiv:1706.05587), for segmentation.
        upsampling: How the decoder of a segmenter doubles the resolution.
    """

    alpha: float
    input_size: tuple[int, int]
    channels: int = 3
    num_classes: int = 1000
    dropout: float = 0.0
    classifier_activation: Activation = Activation.SOFTMAX
    include_top: bool = True
    pooling: PoolKind | None = None
    output_stride: int = 32
    upsampling: Upsampling = Upsampling.BILINEAR

    def __post_init__(self) -> None:
        if not _is_number(self.alpha) or not isfinite(self.alpha) or self.alpha <= 0:
            raise InvalidConfigError(
                "alpha must be above 0", received=f"alpha={self.alpha}", remedy="try 0.25, 0.5 or 1"
            )
        if min(self.input_size) < MIN_INPUT_SIZE:
            height, width = self.input_size
            raise InvalidConfigError(
                f"input_size must be at least {MIN_INPUT_SIZE} pixels in each direction",
                received=f"input_size={height}x{width}",
                remedy="choose a larger input_size, such as 96",
            )
        _check_count("channels", self.channels)
        _check_count("num_classes", self.num_classes, remedy="give the number of classes")
        if not _is_number(self.dropout) or not 0 <= self.dropout < 1:
            raise InvalidConfigError(
                "dropout must be in [0, 1)", received=f"dropout={self.dropout}"
            )
        if self.output_stride not in OUTPUT_STRIDES:
            raise InvalidConfigError(
                "output_stride must be 16 or 32", received=f"output_stride={self.output_stride}"
            )


def parse_size(input_size: int | Sequence[int]) -> tuple[int, int]:
    """Return ``(height, width)`` of one side length or a pair.

    Raises:
        InvalidConfigError: It is neither.

    >>> parse_size(96), parse_size((96, 128))
    ((96, 96), (96, 128))
    """
    sides: tuple[Any, ...] = (input_size, input_size)
    if isinstance(input_size, tuple | list):
        sides = tuple(input_size)
    if len(sides) != 2 or not all(_is_count(side) for side in sides):
        raise InvalidConfigError(
            "input_size must be a number of pixels or (height, width)",
            received=f"input_size={input_size}",
            remedy="try 224 or (192, 256)",
        )
    return int(sides[0]), int(sides[1])


def parse_activation(classifier_activation: str | None, task: Task = Task.CLASSIFY) -> Activation:
    """Return what makes the scores: ``None`` means logits, ``"default"`` what suits the task.

    Raises:
        InvalidConfigError: Not a function that gives scores.

    >>> parse_activation("default", Task.DETECT).value, parse_activation(None).value
    ('sigmoid', 'linear')
    """
    if classifier_activation == DEFAULT_ACTIVATION:
        return ACTIVATIONS[task]
    allowed = {a.value: a for a in (Activation.SOFTMAX, Activation.SIGMOID, Activation.LINEAR)}
    name = "linear" if classifier_activation is None else str(classifier_activation)
    if name not in allowed:
        raise InvalidConfigError(
            "classifier_activation gives no scores",
            received=f"classifier_activation={classifier_activation}",
            remedy=f"choose one of {', '.join(allowed)}",
        )
    return allowed[name]


def parse_pooling(pooling: str | None) -> PoolKind | None:
    """Return how a headless network pools; ``avg``, ``average``, ``max`` or ``None``.

    Raises:
        InvalidConfigError: None of these.
    """
    if pooling is None:
        return None
    kinds = {"avg": PoolKind.AVERAGE, "average": PoolKind.AVERAGE, "max": PoolKind.MAX}
    if pooling not in kinds:
        raise InvalidConfigError("pooling must be avg, max or none", received=f"pooling={pooling}")
    return kinds[pooling]


def _check_count(name: str, value: object, *, remedy: str = "") -> None:
    if not _is_count(value):
        raise InvalidConfigError(
            f"{name} must be a whole number of at least 1",
            received=f"{name}={value}",
            remedy=remedy,
        )


def _is_count(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)
