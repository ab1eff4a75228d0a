"""Boxes that can not be right: found, left out and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgevision.data.annotations import ImageBoxes
from edgevision.data.headers import ImageHeader, turn_boxes

_NUM_TOLD = 5
# Pixels counted from 1 reach over the frame by one.
_TOLERANCE_PX = 1.0


@dataclass(slots=True)
class BoxReport:
    """What was left out or changed while the boxes of a data set were checked."""

    left_out: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)

    def to_notes(self) -> tuple[str, ...]:
        """Return a note for each kind of finding, with the first few spelled out."""
        return tuple(
            _tell(rule, found)
            for rule, found in (
                ("boxes left out: {}", self.left_out),
                ("boxes that reach over the image, clipped: {}", self.clipped),
                ("images whose annotation notes another size: {}", self.sizes),
            )
            if found
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedBoxes:
    """The boxes of one image that are left.

    Attributes:
        kept: (N,) indices into the record's boxes.
        boxes: (N, 4) float32, ymin xmin ymax xmax, pixels of the upright image, inside it.
    """

    kept: NDArray[np.intp]
    boxes: NDArray[np.float32]


def check_boxes(record: ImageBoxes, header: ImageHeader, report: BoxReport) -> CheckedBoxes:
    """Turn boxes upright, clip them to the image, and leave out those that can not be right.

    Left out are boxes without area, outside the image, with coordinates that are no numbers, and
    repetitions of a box of the same class.

    Args:
        record: The boxes as annotated.
        header: Of the image.
        report: Takes down what was left out or clipped.
    """
    turn = header.find_turn(record.size)
    boxes = turn_boxes(record.boxes, header.size, turn) if turn != 1 else record.boxes
    frame = header.size if turn != 1 else header.upright_size
    _compare_sizes(record, frame, report)
    clipped = np.clip(boxes, 0, header.upright_size * 2).astype(np.float32)
    faults = _find_faults(record, boxes, clipped)
    for index, fault in sorted(faults.items()):
        report.left_out.append(f"{_name_box(record, index)}: {fault}")
    beyond = np.abs(clipped - boxes).max(axis=1, initial=0) > _TOLERANCE_PX
    report.clipped += [
        _name_box(record, i) for i in np.flatnonzero(beyond).tolist() if i not in faults
    ]
    kept = np.array([i for i in range(len(boxes)) if i not in faults], np.intp)
    return CheckedBoxes(kept=kept, boxes=clipped[kept])


def count_some(items: Sequence[str]) -> str:
    """Spell out the first few items, and tell how many more there are."""
    more = len(items) - _NUM_TOLD
    return "; ".join(items[:_NUM_TOLD]) + (f"; and {more} more" if more > 0 else "")


def note_unknown(names: Iterable[str], unknown: Iterable[str]) -> Iterator[str]:
    """Yield a note on annotations of classes that the model does not have."""
    lacking = set(unknown)
    counts = Counter(name for name in names if name in lacking)
    if counts:
        told = [f"{name} ({count})" for name, count in counts.most_common()]
        yield f"classes that the model lacks, left out: {count_some(told)}"


def _tell(rule: str, found: list[str]) -> str:
    return f"{rule.format(len(found))} ({count_some(found)})"


def _name_box(record: ImageBoxes, index: int) -> str:
    return f"{record.source.name} {record.places[index]}"


def _compare_sizes(record: ImageBoxes, frame: tuple[int, int], report: BoxReport) -> None:
    if record.size is not None and record.size != frame:
        noted, real = (f"{width}x{height}" for height, width in (record.size, frame))
        report.sizes.append(f"{record.file.name}: {noted} instead of {real}")


def _find_faults(
    record: ImageBoxes, boxes: NDArray[np.float64], clipped: NDArray[np.float32]
) -> dict[int, str]:
    finite = np.asarray(np.isfinite(boxes).all(axis=1))
    positive = np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    sound = finite & positive & (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    faults = {}
    for index in np.flatnonzero(~sound).tolist():
        kind = "outside the image" if positive[index] else "no area"
        faults[index] = kind if finite[index] else "not a finite number"
    first: dict[tuple[object, ...], int] = {}
    for index in np.flatnonzero(sound).tolist():
        key = (record.names[index], bool(record.crowd[index]), *boxes[index].tolist())
        if first.setdefault(key, index) != index:
            faults[index] = f"repeats {record.places[first[key]]}"
    return faults
