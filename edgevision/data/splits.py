"""Splitting images into a training and a validation part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from edgevision.errors import DataError, InvalidConfigError


def split_indices(
    files: Sequence[Path], val_fraction: float, seed: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose the validation images by a hash of their names.

    Which part a file falls into depends on its name and the seed alone, so that adding files moves
    hardly any other. Both parts hold at least one file.

    Args:
        files: The images.
        val_fraction: Share that goes to validation, in (0, 1).
        seed: Another seed gives another split.

    Returns:
        ``(train, val)``, indices in ascending order.

    Raises:
        InvalidConfigError: The share is out of range.
        DataError: There are fewer than two images.
    """
    if not 0 < val_fraction < 1:
        raise InvalidConfigError(
            "the validation share must be between 0 and 1",
            received=f"val_fraction={val_fraction}",
            remedy="try 0.2",
        )
    if len(files) < 2:
        raise DataError(
            "a split takes two images or more",
            received=f"{len(files)} images",
            remedy="add images, or name a validation set",
        )

    def draw_key(index: int) -> tuple[str, Path]:
        text = f"{seed}/{files[index].name}"
        key = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return key, files[index]

    count = min(max(round(len(files) * val_fraction), 1), len(files) - 1)
    ordered = sorted(range(len(files)), key=draw_key)
    return tuple(sorted(ordered[count:])), tuple(sorted(ordered[:count]))
