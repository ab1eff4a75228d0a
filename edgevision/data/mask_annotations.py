"""What every format of masks is read into, before images are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IGNORED = 255
"""Mask value of pixels that belong to no class and are not counted."""

MAX_CLASSES = 255


class MaskSource(Protocol):
    """Where the mask of one image comes from."""

    def load(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8 class indices of the upright image; 255 is ignored."""


class Region(Protocol):
    """The pixels of one object."""

    def fill(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return (H, W) bool of an image of this (height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskPair:
    """An image and the file of its mask."""

    file: Path
    mask: Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionImage:
    """An image and its regions, the ones below first.

    Attributes:
        file: The image; it may not exist.
        source: The annotation file.
        size: (height, width) that the annotation notes, ``None`` where it notes none.
        regions: Each with the name of its class; ``None`` for pixels that are ignored.
    """

    file: Path
    source: Path
    size: tuple[int, int] | None
    regions: tuple[tuple[str | None, Region], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskAnnotations:
    """The masks of a data set: in files, or as regions.

    Attributes:
        pairs: Images with mask files.
        regions: Images with regions.
        labels: Class names, background first; empty where nothing names them.
        skipped: Files that were left out, each with the reason.
        notes: What a person should know.
    """

    pairs: tuple[MaskPair, ...] = ()
    regions: tuple[RegionImage, ...] = ()
    labels: tuple[str, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedMasks:
    """Masks that fit their images.

    Attributes:
        files: The images.
        sources: The mask of each.
        labels: Class names; masks hold indices into them.
        skipped: Images that were left out, each with the reason.
        notes: What a person should know.
    """

    files: tuple[Path, ...]
    sources: tuple[MaskSource, ...]
    labels: tuple[str, ...]
    skipped: tuple[tuple[Path, str], ...]
    notes: tuple[str, ...]


def join_masks(pieces: Sequence[MaskAnnotations]) -> MaskAnnotations:
    """Put data sets together; a class that several name is one class."""
    return MaskAnnotations(
        pairs=tuple(chain.from_iterable(piece.pairs for piece in pieces)),
        regions=tuple(chain.from_iterable(piece.regions for piece in pieces)),
        labels=tuple(dict.fromkeys(chain.from_iterable(piece.labels for piece in pieces))),
        skipped=tuple(chain.from_iterable(piece.skipped for piece in pieces)),
        notes=tuple(dict.fromkeys(chain.from_iterable(piece.notes for piece in pieces))),
    )
