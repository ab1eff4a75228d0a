"""The parts of a data set: training, validation and test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from edgevision.errors import DataError
from edgevision.specs import Part

Item = TypeVar("Item")

_WORDS = {
    **dict.fromkeys(("train", "training"), Part.TRAIN),
    **dict.fromkeys(("val", "valid", "validation"), Part.VAL),
    **dict.fromkeys(("test", "testing"), Part.TEST),
}


def name_part(text: str) -> Part | None:
    """Tell which part a file or folder name speaks of; ``None`` for none, or for several.

    >>> name_part("instances_val2017"), name_part("trainval"), name_part("train_val")
    (<Part.VAL: 'val'>, None, None)
    """
    found = {_WORDS[word] for word in re.split("[^a-z]+", text.casefold()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def find_lists(folder: Path) -> dict[Part, Path]:
    """Find the lists of file names ``train.txt``, ``val.txt`` and ``test.txt`` in a folder."""
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    return {_WORDS[f.stem.lower()]: f for f in files if f.stem.lower() in _WORDS}


def find_part_folders(root: Path) -> dict[Part, Path]:
    """Find the sub-folders that are named after parts."""
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    return {_WORDS[p.name.lower()]: p for p in folders if p.name.lower() in _WORDS}


def pick_part(parts: dict[Part, Item], part: Part, root: Path) -> Item:
    """Return the item of a part.

    Raises:
        DataError: The data set has no such part.
    """
    if part not in parts:
        raise DataError(
            f"this data set has no part {part.value!r}",
            received=f"{root} has {', '.join(parts) or 'no parts'}",
            remedy="name another part, or leave it out to read everything",
        )
    return parts[part]


def read_list(file: Path) -> list[str]:
    """Read a list of file names, one a line, as Pascal VOC writes them.

    A second column, such as the 1 or -1 of VOC's lists for one class, stays in the text.

    Raises:
        DataError: The list can not be read, or is empty.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the list can not be read", received=f"{file}: {error}") from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise DataError("the list names no images", received=file)
    return names
