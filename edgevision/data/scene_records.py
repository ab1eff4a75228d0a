"""Boxes and masks of generated scenes, from the ``scenes.json`` that ``write_dataset`` writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.data.annotations import BoxAnnotations, ImageBoxes
from edgevision.data.json_files import read_json
from edgevision.data.mask_annotations import MaskAnnotations, MaskPair
from edgevision.data.parts import name_part, pick_part
from edgevision.errors import DataError, summarize
from edgevision.specs import Part

FILE_NAME = "scenes.json"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SceneFile:
    """A folder of generated scenes.

    Attributes:
        file: Its ``scenes.json``.
        part: The one part to read, where its folder was named.
    """

    file: Path
    part: Part | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that have images; none where one was named."""
        with self._explain():
            return () if self.part else tuple(_group(read_json(self.file)["images"]))

    def _pick(self, values: Record, part: Part | None) -> list[Record]:
        records: list[Record] = values["images"]
        chosen = self.part or part
        return pick_part(_group(records), chosen, self.file.parent) if chosen else records

    @contextmanager
    def _explain(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                "the list of scenes is damaged",
                received=f"{self.file}: {summarize(error)}",
                remedy="write the scenes again",
            ) from error


class SceneBoxes(_SceneFile):
    """The boxes of generated scenes."""

    def read(self, part: Part | None, *, skip_broken: bool) -> BoxAnnotations:
        """Read the boxes of one part, or of all.

        Raises:
            DataError: The file is damaged, or has no such part.
        """
        values = read_json(self.file)
        with self._explain():
            labels = tuple(str(label) for label in values["labels"])
            images = [_build_boxes(r, labels, self.file) for r in self._pick(values, part)]
        return BoxAnnotations(images=tuple(images), labels=labels)


class SceneMasks(_SceneFile):
    """The masks of generated scenes."""

    def read(self, part: Part | None, *, skip_broken: bool) -> MaskAnnotations:
        """Read the masks of one part, or of all.

        Raises:
            DataError: The file is damaged, has no such part, or names no masks.
        """
        values = read_json(self.file)
        with self._explain():
            labels = ("background", *(str(label) for label in values["labels"]))
            pairs = [_build_pair(record, self.file) for record in self._pick(values, part)]
        return MaskAnnotations(pairs=tuple(pairs), labels=labels)


def find_scene_boxes(source: Path) -> SceneBoxes | None:
    """Recognize a folder of generated scenes, one of its parts, or its ``scenes.json``."""
    file, part = _find_file(source)
    return SceneBoxes(file=file, part=part) if file else None


def find_scene_masks(source: Path) -> SceneMasks | None:
    """Recognize a folder of generated scenes, one of its parts, or its ``scenes.json``."""
    file, part = _find_file(source)
    return SceneMasks(file=file, part=part) if file else None


def _find_file(source: Path) -> tuple[Path | None, Part | None]:
    if source.is_file():
        return (source if source.name == FILE_NAME else None), None
    if (source / FILE_NAME).is_file():
        return source / FILE_NAME, None
    beside, part = source.parent / FILE_NAME, name_part(source.name)
    return (beside, part) if part and beside.is_file() else (None, None)


def _group(records: list[Record]) -> dict[Part, list[Record]]:
    groups: dict[Part, list[Record]] = {}
    for record in records:
        part = name_part(record["file"].partition("/")[0])
        if part:
            groups.setdefault(part, []).append(record)
    return groups


def _build_boxes(record: Record, labels: tuple[str, ...], file: Path) -> ImageBoxes:
    count = len(record["classes"])
    return ImageBoxes(
        file=file.parent / record["file"],
        source=file,
        size=None,
        boxes=np.array(record["boxes"], np.float64).reshape(count, 4),
        names=tuple(labels[index] for index in record["classes"]),
        places=tuple(f"{record['file']} box {index}" for index in range(count)),
        ignored=np.zeros(count, bool),
        crowd=np.zeros(count, bool),
        areas=np.full(count, np.nan),
    )


def _build_pair(record: Record, file: Path) -> MaskPair:
    if "mask" not in record:
        raise DataError(
            "these scenes have no masks", received=file, remedy="write them again with masks=True"
        )
    return MaskPair(file=file.parent / record["file"], mask=file.parent / record["mask"])
