"""Images with mask files: every mask is looked at once, and all of them tell the classes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevision.data.headers import read_header
from edgevision.data.labels import name_some
from edgevision.data.mask_annotations import CheckedMasks, MaskPair
from edgevision.data.mask_classes import decide_classes
from edgevision.data.mask_files import MaskFile, read_mask
from edgevision.errors import DataError, MissingFileError
from edgevision.specs import Progress
from edgevision.threads import count_cores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """What one look at an image and its mask showed."""

    values: frozenset[int] = frozenset()
    turn: int = 1
    fault: str = ""


def check_pairs(
    pairs: Sequence[MaskPair],
    names: tuple[str, ...],
    labels: tuple[str, ...],
    *,
    root: Path,
    ignore_index: int | None,
    skip_broken: bool,
    progress: Progress | None,
) -> CheckedMasks:
    """Look at every mask and the header of its image.

    Args:
        pairs: Images and mask files.
        names: What the data set calls its classes; may be empty.
        labels: The model's classes; empty for those of the data set.
        root: The data set, for error messages.
        ignore_index: A value that is no class, beside 255.
        skip_broken: Leave out what does not fit.
        progress: Called after every mask.

    Raises:
        DataError: Missing or damaged files, sizes that differ, or values that are no classes.
    """
    looks = _look_at_all(pairs, progress)
    faults = tuple((p.file, k.fault) for p, k in zip(pairs, looks, strict=True) if k.fault)
    if faults and (not skip_broken or len(faults) == len(pairs)):
        raise DataError(
            f"{len(faults)} of {len(pairs)} masks can not be used",
            received=name_some([fault for _, fault in faults], separator="; "),
            remedy="repair them, or leave them out with --skip-broken",
        )
    kept = [(pair, look) for pair, look in zip(pairs, looks, strict=True) if not look.fault]
    values = frozenset[int]().union(*(look.values for _, look in kept))
    classes = decide_classes(values, names, labels, root, ignore_index=ignore_index)
    return CheckedMasks(
        files=tuple(pair.file for pair, _ in kept),
        sources=tuple(
            MaskFile(file=pair.mask, table=classes.table, turn=look.turn) for pair, look in kept
        ),
        labels=classes.labels,
        skipped=faults,
        notes=classes.notes,
    )


def _look_at_all(pairs: Sequence[MaskPair], progress: Progress | None) -> list[_Look]:
    looks = []
    with ThreadPoolExecutor(count_cores()) as pool:
        for look in pool.map(_look_at, pairs):
            looks.append(look)
            if progress:
                progress("reading masks", len(looks), len(pairs))
    return looks


def _look_at(pair: MaskPair) -> _Look:
    try:
        header, mask = read_header(pair.file), read_mask(pair.mask)
    except (DataError, MissingFileError) as error:
        return _Look(fault=str(error))
    turn = header.find_turn((mask.shape[0], mask.shape[1]))
    if turn == 1 and mask.shape != header.upright_size:
        own, real = (f"{width}x{height}" for height, width in (mask.shape, header.upright_size))
        return _Look(fault=f"{pair.mask} is {own} pixels, its image {real}")
    return _Look(values=_list_values(mask), turn=turn)


def _list_values(mask: NDArray[np.uint8]) -> frozenset[int]:
    counts = np.bincount(mask.ravel(), minlength=256)
    return frozenset(np.flatnonzero(counts).tolist())
