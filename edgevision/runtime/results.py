"""What a model answers, as immutable values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevision.errors import InvalidConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One class that a classifier considers.

    Attributes:
        label: Name of the class, ``class 3`` where the model carries no names.
        index: Position in the model's output.
        score: Probability, unless the model gives something else.
    """

    label: str
    index: int
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"label": self.label, "index": self.index, "score": self.score}


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """A classifier's answer to one image, best class first.

    >>> cat = Prediction(label="cat", index=1, score=0.9)
    >>> dog = Prediction(label="dog", index=0, score=0.1)
    >>> answer = Classification(predictions=(cat, dog))
    >>> answer.top.label, len(answer.above(0.5))
    ('cat', 1)
    """

    predictions: tuple[Prediction, ...]

    @property
    def top(self) -> Prediction:
        """The best class.

        Raises:
            InvalidConfigError: No class is left above the threshold that was asked for.
        """
        if not self.predictions:
            raise InvalidConfigError("no class is above the threshold", remedy="lower it")
        return self.predictions[0]

    def above(self, threshold: float) -> Classification:
        """Return the answer without the classes that score below ``threshold``."""
        kept = tuple(p for p in self.predictions if p.score >= threshold)
        return Classification(predictions=kept)

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"predictions": [p.to_dict() for p in self.predictions]}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedObject:
    """One object that a detector found.

    Attributes:
        label: Name of the class.
        index: Class, counted without background.
        score: Probability.
        box: ymin, xmin, ymax, xmax in pixels of the original image.
    """

    label: str
    index: int
    score: float
    box: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the box in hundredths of a pixel."""
        box = [round(value, 2) for value in self.box]
        return {"label": self.label, "index": self.index, "score": self.score, "box": box}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """A detector's answer to one image: a struct of arrays, best object first.

    Iterating gives one ``DetectedObject`` after the other.

    Attributes:
        boxes: (N, 4) float32, ymin xmin ymax xmax, pixels of the original image.
        scores: (N,) float32.
        classes: (N,) int64, counted without background.
        labels: The name of each object's class, N of them.
        image_size: (height, width) of the original image, pixels.

    >>> found = Detections(
    ...     boxes=np.float32([[0, 0, 9, 5], [2, 2, 4, 4]]), scores=np.float32([0.75, 0.25]),
    ...     classes=np.array([1, 0]), labels=("dog", "cat"), image_size=(10, 10),
    ... )
    >>> len(found.above(0.5)), [thing.label for thing in found]
    (1, ['dog', 'cat'])
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    labels: tuple[str, ...]
    image_size: tuple[int, int]

    def above(self, threshold: float) -> Detections:
        """Return the answer without the objects that score below ``threshold``."""
        return self._keep(np.flatnonzero(self.scores >= threshold))

    def of_class(self, label: str) -> Detections:
        """Return the objects of one class only."""
        return self._keep(np.array([i for i, n in enumerate(self.labels) if n == label], np.intp))

    def __iter__(self) -> Iterator[DetectedObject]:
        rows = zip(self.labels, self.classes, self.scores, self.boxes.tolist(), strict=True)
        for label, index, score, (ymin, xmin, ymax, xmax) in rows:
            yield DetectedObject(
                label=label, index=int(index), score=float(score), box=(ymin, xmin, ymax, xmax)
            )

    def __len__(self) -> int:
        return len(self.labels)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"predictions": [found.to_dict() for found in self]}

    def _keep(self, rows: NDArray[np.intp]) -> Detections:
        return Detections(
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            classes=self.classes[rows],
            labels=tuple(self.labels[i] for i in rows.tolist()),
            image_size=self.image_size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassArea:
    """How much of an image belongs to one class.

    Attributes:
        label: Name of the class.
        index: Its number in the mask.
        pixels: Pixels of the original image.
        share: Share of the pixels that the model saw, 0 to 1.
    """

    label: str
    index: int
    pixels: int
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "label": self.label,
            "index": self.index,
            "pixels": self.pixels,
            "share": self.share,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """A segmenter's answer to one image.

    Attributes:
        mask: (H, W) uint8 (uint16 with more than 255 classes), the class of every pixel of the
            original image; ``unseen`` where preprocessing cropped the image.
        labels: The name of every class.
    """

    mask: NDArray[np.uint8] | NDArray[np.uint16]
    labels: tuple[str, ...]

    @property
    def unseen(self) -> int:
        """What stands in the mask where the model saw nothing: 255, or 65535 for uint16."""
        return int(np.iinfo(self.mask.dtype).max)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the original image, pixels."""
        return self.mask.shape[0], self.mask.shape[1]

    @property
    def areas(self) -> tuple[ClassArea, ...]:
        """The classes that occur, the largest first; counted anew on every call."""
        seen = _count_values(self.mask)[: self.unseen]
        total = max(int(seen.sum()), 1)
        present = [int(i) for i in np.argsort(-seen, kind="stable") if seen[i]]
        return tuple(
            ClassArea(
                label=self.labels[i] if i < len(self.labels) else f"class {i}",
                index=i,
                pixels=int(seen[i]),
                share=int(seen[i]) / total,
            )
            for i in present
        )

    def select(self, label: str) -> NDArray[np.bool_]:
        """Return where one class is, (H, W).

        Raises:
            InvalidConfigError: The model has no such class.
        """
        if label not in self.labels:
            raise InvalidConfigError(
                "the model has no such class",
                received=label,
                remedy=f"it has {', '.join(self.labels[:5])} …",
            )
        found: NDArray[np.bool_] = self.mask == self.labels.index(label)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: the size and the areas, not the mask itself."""
        height, width = self.image_size
        return {"height": height, "width": width, "areas": [area.to_dict() for area in self.areas]}


def _count_values(mask: NDArray[Any]) -> NDArray[np.int64]:
    """Count how often each number stands in a mask."""
    if mask.dtype != np.uint8:
        return np.bincount(mask.reshape(-1), minlength=np.iinfo(mask.dtype).max + 1)
    # NumPy would first make eight bytes of every one.
    from PIL import Image

    return np.array(Image.fromarray(mask).histogram(), np.int64)


Answer = Classification | Detections | Segmentation


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """What a model says about one image file or frame.

    Attributes:
        image: The file; of a video or camera its name and the frame.
        answer: Classes or objects, best first, or a mask.
    """

    image: Path
    answer: Answer

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"image": str(self.image), **self.answer.to_dict()}
