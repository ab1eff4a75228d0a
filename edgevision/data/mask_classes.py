"""Which class a value of a mask file stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevision.data.labels import match_known_labels, name_some
from edgevision.data.mask_annotations import IGNORED
from edgevision.errors import DataError
from edgevision.graph.contract_guesses import is_background

BINARY_LABELS = ("background", "foreground")
_WHITE = 255
# Where nothing names the classes: a mask of more values is a gray picture, or was blurred.
_MAX_UNNAMED = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskClasses:
    """The classes of a data set's mask files.

    Attributes:
        labels: Class names, background first.
        table: (256,) uint8 class index of each value; 255 is ignored.
        notes: How the values were read.
    """

    labels: tuple[str, ...]
    table: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def decide_classes(
    values: frozenset[int],
    names: tuple[str, ...],
    labels: tuple[str, ...],
    source: Path,
    *,
    ignore_index: int | None = None,
) -> MaskClasses:
    """Tell what the values of all masks stand for.

    Nothing but 0 and 255 is black and white: two classes. Otherwise values are class indices, and
    255 is ignored.

    Args:
        values: All values that occur in the data set.
        names: What the data set calls its classes, background first; may be empty.
        labels: The model's classes; empty for those of the data set.
        source: For error messages.
        ignore_index: A value that is ignored too, and is no class; 255 needs not be named.

    Raises:
        DataError: Two classes where the model has another number, values that are no classes, or
            nothing but background where nothing names the classes.

    >>> decide_classes(frozenset((0, 255)), (), (), Path("masks")).labels
    ('background', 'foreground')
    >>> decide_classes(frozenset((0, 2, 255)), (), (), Path("masks")).labels
    ('background', 'class 1', 'class 2')
    """
    if ignore_index is None or ignore_index == IGNORED or ignore_index not in values:
        return _decide(values, names, labels, source)
    classes = _decide(values - {ignore_index}, names, labels, source)
    table = classes.table.copy()
    table[ignore_index] = IGNORED
    return replace(classes, table=table)


def _decide(
    values: frozenset[int], names: tuple[str, ...], labels: tuple[str, ...], source: Path
) -> MaskClasses:
    if _WHITE in values and values <= {0, _WHITE}:
        return _decide_binary(names, labels, source)
    indices = sorted(values - {IGNORED})
    if names and indices and indices[-1] == len(names) and not is_background_name(names[0]):
        names = ("background", *names)
    own = names or labels or _number_classes(indices, source)
    beyond = [str(value) for value in indices if value >= len(own)]
    if beyond:
        raise DataError(
            f"mask values are class indices below {len(own)}, or 255 for pixels to ignore",
            received=f"{source}: {name_some(beyond)}",
            remedy="correct the masks, or name all classes",
        )
    if not names or not labels:
        table = np.full(256, IGNORED, np.uint8)
        table[: len(own)] = np.arange(len(own))
        return MaskClasses(labels=own, table=table)
    targets, notes = match_mask_labels(names, labels, source)
    table = np.full(256, IGNORED, np.uint8)
    table[: len(names)] = targets
    return MaskClasses(labels=labels, table=table, notes=notes)


def match_mask_labels(
    names: tuple[str, ...], labels: tuple[str, ...], source: Path
) -> tuple[list[int], tuple[str, ...]]:
    """Find the model's class of each class of a data set.

    Background is background, whatever it is called. A class that the model lacks is background to
    it, or ignored where it has none.

    Returns:
        ``(class index of each name, notes)``.

    Raises:
        DataError: The model has none of the classes.
    """
    rest = 0 if is_background_name(labels[0]) else IGNORED
    objects = [name for name in names if not is_background_name(name)]
    known, unknown = match_known_labels(objects, labels, source) if objects else ({}, [])
    targets = [known.get(name, rest) for name in names]
    state = "background" if rest == 0 else "ignored"
    notes = (f"classes that the model lacks are {state}: {name_some(unknown)}",) if unknown else ()
    return targets, notes


def is_background_name(name: str) -> bool:
    """Whether a class name means background, whatever underscores surround it.

    >>> is_background_name("_background_"), is_background_name("cat")
    (True, False)
    """
    return is_background(name) or is_background(name.strip("_"))


def _decide_binary(names: tuple[str, ...], labels: tuple[str, ...], source: Path) -> MaskClasses:
    own = labels or names or BINARY_LABELS
    if len(own) == 1 and not is_background_name(own[0]):
        own = ("background", *own)
    if len(own) != 2:
        raise DataError(
            "masks of 0 and 255 have two classes",
            received=f"{source}; {len(own)} classes are named: {name_some(own)}",
            remedy="use class indices as mask values, or a model of two classes",
        )
    table = np.full(256, IGNORED, np.uint8)
    table[0], table[_WHITE] = 0, 1
    return MaskClasses(labels=own, table=table)


def _number_classes(indices: list[int], source: Path) -> tuple[str, ...]:
    if not indices or indices[-1] == 0:
        raise DataError(
            "the masks hold nothing but background",
            received=source,
            remedy="name the classes in labels.txt if that is right",
        )
    if len(indices) > _MAX_UNNAMED:
        raise DataError(
            "mask values are class indices, and these look like shades of gray",
            received=f"{source}: {len(indices)} different values",
            remedy="save masks without blur as PNG, or name the classes in labels.txt",
        )
    if indices[-1] == 1:
        return BINARY_LABELS
    return "background", *(f"class {index}" for index in range(1, indices[-1] + 1))
