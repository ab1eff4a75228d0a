"""What every format of box annotations is read into, before images are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageBoxes:
    """The boxes of one image as they were written down.

    Attributes:
        file: The image; it may not exist.
        source: The annotation file.
        size: (height, width) that the annotation notes, ``None`` where it notes none.
        boxes: (N, 4) float64, ymin xmin ymax xmax, pixels; unchecked.
        names: Class of each box.
        places: How messages name each box within ``source``.
        ignored: (N,) bool, difficult or crowd.
        crowd: (N,) bool, a region of many objects.
        areas: (N,) float64, pixels of the object; NaN where it is not noted.
    """

    file: Path
    source: Path
    size: tuple[int, int] | None
    boxes: NDArray[np.float64]
    names: tuple[str, ...]
    places: tuple[str, ...]
    ignored: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoxAnnotations:
    """The annotations of a data set.

    Attributes:
        images: One record for each image.
        labels: Class names in the order of the data set.
        skipped: Files that were left out, each with the reason.
        notes: What a person should know.
    """

    images: tuple[ImageBoxes, ...]
    labels: tuple[str, ...]
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


def join_annotations(pieces: Sequence[BoxAnnotations]) -> BoxAnnotations:
    """Put data sets together; a class that several name is one class."""
    return BoxAnnotations(
        images=tuple(chain.from_iterable(piece.images for piece in pieces)),
        labels=tuple(dict.fromkeys(chain.from_iterable(piece.labels for piece in pieces))),
        skipped=tuple(chain.from_iterable(piece.skipped for piece in pieces)),
        notes=tuple(dict.fromkeys(chain.from_iterable(piece.notes for piece in pieces))),
    )
