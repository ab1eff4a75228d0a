"""Recognizing what a folder or file holds, whatever kind of annotation is looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from edgevision.data.images import scan_images
from edgevision.data.parts import find_part_folders, pick_part
from edgevision.errors import DataError, MissingFileError
from edgevision.specs import Part

A = TypeVar("A")
"""Annotations of one kind."""
Read_co = TypeVar("Read_co", covariant=True)


class Source(Protocol[Read_co]):
    """A folder or file that was recognized as one format."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that can be told apart."""

    def read(self, part: Part | None, *, skip_broken: bool) -> Read_co:
        """Read the annotations of one part, or of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[A]):
    """One kind of annotation.

    Attributes:
        name: What it is called, in the plural.
        finders: One for each format; ``None`` where the format is another.
        join: Puts the annotations of several data sets together.
        forms: The formats, for a person.
    """

    name: str
    finders: tuple[Callable[[Path], Source[A] | None], ...]
    join: Callable[[Sequence[A]], A]
    forms: str

    def find(self, root: Path) -> Source[A]:
        """Recognize a data set by its files.

        Raises:
            MissingFileError: The source does not exist.
            DataError: It is no known format.
        """
        if not root.exists():
            raise MissingFileError(
                "there is no such folder or file", received=root, remedy="check the path"
            )
        found = self._find_format(root)
        if found is not None:
            return found
        folders = {part: self._find_format(f) for part, f in find_part_folders(root).items()}
        sources = {part: source for part, source in folders.items() if source is not None}
        if not sources:
            raise DataError(
                f"no {self.name} are found here", received=describe_place(root), remedy=self.forms
            )
        return _PartFolders(root=root, sources=sources, join=self.join)

    def _find_format(self, root: Path) -> Source[A] | None:
        return next((found for find in self.finders if (found := find(root)) is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PartFolders(Generic[A]):
    """A folder of ``train``, ``val`` and ``test`` folders, each a data set."""

    root: Path
    sources: dict[Part, Source[A]]
    join: Callable[[Sequence[A]], A]

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(self.sources)

    def read(self, part: Part | None, *, skip_broken: bool) -> A:
        if part is not None:
            chosen = pick_part(self.sources, part, self.root)
            return chosen.read(None, skip_broken=skip_broken)
        return self.join([s.read(None, skip_broken=skip_broken) for s in self.sources.values()])


def describe_place(root: Path) -> str:
    """Tell what a file or folder is, for an error message."""
    if root.is_file():
        return f"the file {root}"
    images, others = scan_images(root)
    kinds = ", ".join(f"{count} of {suffix}" for suffix, count in others.most_common(3))
    return f"{root} holds {len(images)} images" + (f", {kinds}" if kinds else "")
