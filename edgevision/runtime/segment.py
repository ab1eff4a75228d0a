"""A segmenter: an image of any size in, the class of every one of its pixels out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract
from edgevision.errors import InvalidModelError
from edgevision.runtime.class_maps import (
    blank_unseen,
    choose_classes,
    lay_out_axes,
    spread_map,
)
from edgevision.runtime.predictor import Outputs, Pixels, Predictor, dequantize, take_single
from edgevision.runtime.results import Segmentation
from edgevision.runtime.session import Session
from edgevision.specs import Layout, ScoreKind, TensorSpec

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource

Array = NDArray[Any]

_FOREGROUND = ("background", "foreground")


@dataclass(frozen=True, slots=True)
class MaskOutput:
    """What the output of a segmenter holds.

    Attributes:
        spec: The tensor.
        num_classes: Number of classes, 0 for a map of class numbers.
        channel_axis: Axis of the scores, counted from the end; 0 where there is none.
    """

    spec: TensorSpec
    num_classes: int
    channel_axis: int


class Segmenter(Predictor):
    """Segments images with a deployed model file, following the model's own contract.

    Takes scores of any kind for each class (channels last or first, float or quantized), one score
    for a foreground, or a map of class numbers. The mask has the size of the original image:
    scores are interpolated, so that borders are smooth; class numbers are taken from the nearest.
    Threads may share a segmenter: their calls run one after another.

    Args:
        session: The model.
        contract: What the model says about itself; ``edgevision.load`` reads it from the file.

    Raises:
        UnsupportedOpError: The model has more than one input or output.
        InvalidModelError: The output is no map, or the labels do not match the number of classes.
    """

    def __init__(self, session: Session, contract: Contract) -> None:
        super().__init__(session, contract)
        spec = take_single(session.outputs, "output")
        first = self._preprocess.layout is Layout.NCHW
        self._output = describe_output(spec, channels_first=first, num_labels=len(contract.labels))
        self._labels = _complete_labels(contract.labels, self._output.num_classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for every class; empty where a map of class numbers comes without names."""
        return self._labels

    @property
    def num_classes(self) -> int:
        """Number of classes, the background among them; 0 where it is unknown."""
        return self._output.num_classes or len(self._labels)

    def predict(self, image: ImageSource) -> Segmentation:
        """Segment one image.

        Args:
            image: A path, the bytes of an image file, a PIL image, or a uint8 (H, W, 3) RGB array.

        Returns:
            A mask of the image's own size. Where preprocessing crops, what lies outside of the
            crop is marked as unseen.

        Raises:
            DataError: The image is broken or of an unknown kind.
            MissingFileError: There is no such file.
        """
        return self._segment(self._prepare(image))

    def predict_batch(self, images: Iterable[ImageSource]) -> list[Segmentation]:
        """Segment many images; the next ones are decoded while the model runs.

        All masks are kept in memory: use ``iterate`` for large sets.

        Args:
            images: As for ``predict``; a generator is consumed as it goes.

        Returns:
            One answer per image, in order.

        Raises:
            DataError: An image is broken; it is named.
        """
        return list(self.iterate(images))

    def iterate(
        self, images: Iterable[ImageSource], *, threads: int | None = None
    ) -> Iterator[Segmentation]:
        """Yield the masks of many images, decoding ahead in threads.

        Args:
            images: As for ``predict``.
            threads: Decoding threads; by default one per usable core, at most 4.
        """
        return map(self._segment, self._prepare_ahead(images, threads))

    def _segment(self, pixels: Pixels) -> Segmentation:
        values = self._read(self._run(pixels))
        axes = lay_out_axes(
            self._preprocess.geometry(pixels.image_size), self._preprocess.size, values.shape[:2]
        )
        if self._output.num_classes:
            mask = choose_classes(values, axes)
        else:
            rows, columns = axes
            mask = spread_map(_narrow(values), rows.nearest, columns.nearest)
        return Segmentation(mask=blank_unseen(mask, axes), labels=self._labels)

    def _read(self, outputs: Outputs) -> Array:
        """Return scores (h, w, C) or class numbers (h, w)."""
        output = self._output
        raw = outputs[output.spec.name]
        if not output.channel_axis:
            return raw.reshape(raw.shape[1:3])
        scores = np.moveaxis(raw[0], output.channel_axis, -1)
        return scores if scores.shape[-1] > 1 else self._split_foreground(scores)

    def _split_foreground(self, scores: Array) -> Array:
        """Turn one score into two: it counts where it is above even odds."""
        real = dequantize(scores, self._output.spec.quantization)
        even = 0.0 if self.contract.scores is ScoreKind.LOGITS else 0.5
        return np.concatenate((np.full_like(real, even), real), axis=-1)


def describe_output(spec: TensorSpec, *, channels_first: bool, num_labels: int) -> MaskOutput:
    """Tell how to read the output of a segmenter.

    Args:
        spec: The output.
        channels_first: Whether the input has its channels before height and width.
        num_labels: Number of classes that the contract names, 0 where it names none.

    Raises:
        InvalidModelError: It is no map.
    """
    shape = spec.shape
    whole = spec.dtype.startswith(("int", "uint")) and spec.quantization is None
    if len(shape) == 3 or (len(shape) == 4 and whole and 1 in (shape[1], shape[3])):
        if whole:
            return MaskOutput(spec, 0, 0)
    elif len(shape) == 4:
        first = shape[1] == num_labels if num_labels in (shape[1], shape[3]) else channels_first
        first = first and shape[3] != num_labels
        channels = shape[1] if first else shape[3]
        if channels > 0:
            return MaskOutput(spec, max(channels, 2), -3 if first else -1)
    raise InvalidModelError(
        "a segmenter answers scores (1, H, W, C) or (1, C, H, W), or class numbers (1, H, W)",
        received=f"{spec.name}: {spec.dtype} {shape}",
        remedy="if it classifies or detects, load it with that task",
    )


def _complete_labels(labels: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    if not num_classes:
        return labels
    if not labels:
        return tuple(f"class {i}" for i in range(num_classes))
    if len(labels) == 1 and num_classes == 2:
        return (_FOREGROUND[0], *labels)
    if len(labels) != num_classes:
        raise InvalidModelError(
            "a segmenter has one label per class, with one for the background",
            received=f"{len(labels)} labels for {num_classes} classes",
            remedy="give the right list of labels",
        )
    return labels


def _narrow(values: Array) -> Array:
    """Store class numbers in one byte where they fit."""
    if values.dtype == np.uint8:
        return values
    largest = int(values.max(initial=0))
    return values.astype(np.uint8 if largest < np.iinfo(np.uint8).max else np.uint16)
