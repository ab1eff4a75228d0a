"""What a model answers, as immutable values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
class ImageAnswer:
    """What a model says about one image file.

    Attributes:
        image: The file.
        answer: The classes, best first.
    """

    image: Path
    answer: Classification

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {"image": str(self.image), **self.answer.to_dict()}
