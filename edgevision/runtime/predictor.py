"""What classifiers, detectors and segmenters share: from images to raw outputs, one at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevision.contract import Contract
from edgevision.data.ahead import map_ahead
from edgevision.data.images import decode_image
from edgevision.data.preprocess import Preprocessor
from edgevision.errors import InvalidConfigError, UnsupportedOpError
from edgevision.runtime.session import Session
from edgevision.specs import Quantization, TensorSpec
from edgevision.threads import count_cores

if TYPE_CHECKING:
    from edgevision.data.images import ImageSource

Array = NDArray[Any]
Outputs = Mapping[str, Array]

_MAX_DECODING_THREADS = 4


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image at the model's input size.

    Attributes:
        values: (height, width, 3) uint8 RGB, of the input's height and width.
        image_size: (height, width) of the original.
    """

    values: NDArray[np.uint8]
    image_size: tuple[int, int]


class Predictor:
    """A model, its contract and its preprocessing; the base of what answers for each task.

    Threads may share one: their calls run one after another. For calls that run at the same time,
    load the file once per thread.

    Args:
        session: The model.
        contract: What the model says about itself.

    Raises:
        UnsupportedOpError: The model has more than one input.
        InvalidModelError: Its input is no image.
    """

    def __init__(self, session: Session, contract: Contract) -> None:
        self.session = session
        self.contract = contract
        self._input = take_single(session.inputs, "input")
        self._preprocess = Preprocessor(contract.preprocessing, self._input)
        self._lock = threading.Lock()

    def _prepare(self, image: ImageSource) -> Pixels:
        """Decode and resize one image; safe to call from any thread."""
        decoded = decode_image(image)
        return Pixels(self._preprocess.resize(decoded), (decoded.shape[0], decoded.shape[1]))

    def _prepare_ahead(
        self, images: Iterable[ImageSource], threads: int | None = None
    ) -> Iterator[Pixels]:
        """Decode the next images in threads while the model runs on the one before."""
        if _is_one_image(images):
            raise InvalidConfigError(
                "a batch is several images",
                received=type(images).__name__,
                remedy="put it into a list, or call predict",
            )
        count = threads or min(count_cores(), _MAX_DECODING_THREADS)
        return map_ahead(self._prepare, images, threads=count)

    def _run(self, pixels: Pixels) -> Outputs:
        """Run the model once and return copies of its outputs."""
        with self._lock:
            tensor = self._preprocess.normalize(pixels.values)
            return self.session.run({self._input.name: tensor})


def _is_one_image(images: Any) -> bool:
    """Whether somebody passes an image where several are taken: its rows would be answered."""
    if isinstance(images, np.ndarray):
        return images.ndim in (2, 3)
    return isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable)


def take_single(specs: Sequence[TensorSpec], side: str) -> TensorSpec:
    """Return the only input or output of a model.

    Args:
        specs: All of them.
        side: ``input`` or ``output``, for the message.

    Raises:
        UnsupportedOpError: There are more, or none.
    """
    if len(specs) != 1:
        raise UnsupportedOpError(
            f"a model of this task has one {side}",
            received=", ".join(f"{s.name} {s.shape}" for s in specs) or "none",
            remedy="if it is of another task, load it with that task",
        )
    return specs[0]


def dequantize(values: Array, quantization: Quantization | None) -> NDArray[np.float32]:
    """Turn stored numbers of a tensor with one scale into real ones, float32.

    >>> from edgevision.specs import Quantization
    >>> quantization = Quantization(scales=(1 / 256,), zero_points=(-128,))
    >>> dequantize(np.int8([-128, 0]), quantization).tolist()
    [0.0, 0.5]
    """
    real = values.astype(np.float32)
    if quantization is not None and values.dtype.kind in "iu":
        real -= np.float32(quantization.zero_points[0])
        real *= np.float32(quantization.scales[0])
    return real


def name_class(labels: Sequence[str], index: int) -> str:
    """Return the name of a class, ``class 3`` where the model carries none.

    >>> name_class(("cat", "dog"), 1), name_class((), 3)
    ('dog', 'class 3')
    """
    return labels[index] if index < len(labels) else f"class {index}"


def check_top_k(top_k: int) -> int:
    """Hold that at least one answer is asked for.

    Raises:
        InvalidConfigError: It is below 1.
    """
    if top_k < 1:
        raise InvalidConfigError("top_k must be at least 1", received=f"top_k={top_k}")
    return top_k


def check_threshold(threshold: float) -> float:
    """Hold that a threshold is a score.

    Raises:
        InvalidConfigError: It is not in [0, 1].
    """
    if not 0 <= threshold <= 1:  # also false for what is not a number
        raise InvalidConfigError(
            "a threshold is a score in [0, 1]", received=f"threshold={threshold}"
        )
    return threshold
