"""Class names and indices: matching them to a model's labels, and reading ``labels.csv``."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from edgevision.errors import DataError

CSV_NAME = "labels.csv"
_NUM_NAMED = 3
# Every class up to the largest index gets a name: larger numbers are identifiers or mistakes.
_MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One line of ``labels.csv``.

    Attributes:
        line: Line number, from 1.
        file: The image; it may not exist.
        label: Class name or index, as written.
    """

    line: int
    file: Path
    label: str


def name_some(names: Sequence[str], *, separator: str = ", ") -> str:
    """Join the first few names, and tell how many more there are.

    >>> name_some(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = len(names) - _NUM_NAMED
    return separator.join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def match_labels(names: Sequence[str], labels: tuple[str, ...], source: Path) -> dict[str, int]:
    """Map the names found in a data set to class indices.

    Args:
        names: What the data set calls its classes.
        labels: The model's class names in order; empty to number ``names`` as they come.
        source: The folder or file, for error messages.

    Raises:
        DataError: Names that the model does not have, or has twice.

    >>> match_labels(["Traffic_Light"], ("car", "traffic light"), Path("data"))
    {'Traffic_Light': 1}
    """
    if not labels:
        return {name: index for index, name in enumerate(names)}
    found = _find_labels(names, labels)
    if any(not f for f in found.values()) and all(_is_index(n, len(labels)) for n in names):
        return {name: int(name) for name in names}
    unknown = [name for name, matches in found.items() if not matches]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(names)} labels are not among the model's {len(labels)}",
            received=f"{source}: {name_some(unknown)}; the model has {name_some(labels)}",
            remedy="give the classes of the data the names that the model has",
        )
    twice = [name for name, matches in found.items() if len(matches) > 1]
    if twice:
        raise DataError(
            "a label stands more than once in the model's list",
            received=f"{source}: {name_some(twice)}",
            remedy="use class indices instead of names",
        )
    return {name: matches[0] for name, matches in found.items()}


def match_known_labels(
    names: Sequence[str], labels: tuple[str, ...], source: Path
) -> tuple[dict[str, int], list[str]]:
    """Map names to class indices as ``match_labels`` does, where the model may lack some.

    Returns:
        ``(class index of each known name, names that the model lacks)``.

    Raises:
        DataError: The model has none of the names, or one of them twice.

    >>> match_known_labels(["cat", "kite"], ("dog", "cat"), Path("data"))
    ({'cat': 1}, ['kite'])
    """
    found = _find_labels(names, labels) if labels else {name: [0] for name in names}
    known = [name for name in names if found[name]]
    if not known or all(_is_index(name, len(labels)) for name in names):
        return match_labels(names, labels, source), []
    return match_labels(known, labels, source), [name for name in names if not found[name]]


def _find_labels(names: Sequence[str], labels: Sequence[str]) -> dict[str, list[int]]:
    exact = _index_labels(labels)
    loose = _index_labels([_simplify(label) for label in labels])
    return {n: exact.get(n, loose.get(_simplify(n), [])) for n in names}


def _index_labels(labels: Sequence[str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(label, []).append(index)
    return places


def _simplify(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def _is_index(text: str, count: int) -> bool:
    return text.isascii() and text.isdigit() and int(text) < count


def number_labels(
    rows: Sequence[LabelRow], labels: tuple[str, ...], source: Path
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Find the class names and the class index of every label text.

    Args:
        rows: The lines of ``labels.csv``.
        labels: The model's class names in order; empty for those in the file.
        source: The file, for error messages.

    Returns:
        ``(class names, index of each label text)``. A file of indices without ``labels`` gives
        the classes ``"0"``, ``"1"`` … up to the largest.

    Raises:
        DataError: A label that the model does not have, or an index below 0.
    """
    names = sorted({row.label for row in rows})
    _check_indices(rows, labels, source)
    if labels or not all(name.isascii() and name.isdigit() for name in names):
        return labels or tuple(names), match_labels(names, labels, source)
    indices = {name: int(name) for name in names}
    return tuple(str(i) for i in range(max(indices.values()) + 1)), indices


def _check_indices(rows: Sequence[LabelRow], labels: tuple[str, ...], source: Path) -> None:
    known = set(labels)
    # Without labels, a number beside names is a name itself.
    counted = all(row.label.lstrip("-").isdecimal() for row in rows)
    limit = len(labels) or (_MAX_CLASSES if counted else sys.maxsize)
    wrong = [
        f"line {row.line}: {row.label}"
        for row in rows
        if re.fullmatch("-?[0-9]+", row.label)
        and row.label not in known
        and not 0 <= int(row.label) < limit
    ]
    if wrong:
        raise DataError(
            "a class index is 0 or more, and below the number of classes",
            received=f"{source}, {name_some(wrong)}",
            remedy=f"the model has {len(labels)} classes"
            if labels
            else f"count from 0, to {_MAX_CLASSES} at most",
        )


def read_rows(source: Path) -> list[LabelRow]:
    """Read ``labels.csv``: comma, semicolon or tab; further columns are ignored.

    Raises:
        DataError: Not UTF-8, no columns ``file`` and ``label``, an incomplete line, or no line.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        reader = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{CSV_NAME} can not be read", received=f"{source}: {error}", remedy="save it as UTF-8"
        ) from error
    columns = [name.lower() for name in lines[0][1]] if lines else []
    if "file" not in columns or "label" not in columns:
        raise DataError(
            f"{CSV_NAME} needs the columns file and label",
            received=f"{source}: {header[:80]!r}",
            remedy="write file,label as its first line",
        )
    places = columns.index("file"), columns.index("label")
    rows = [_read_row(cells, line, places, source) for line, cells in lines[1:] if any(cells)]
    if not rows:
        raise DataError(f"{CSV_NAME} lists no images", received=source)
    return rows


def _read_row(cells: list[str], line: int, places: tuple[int, int], source: Path) -> LabelRow:
    values = [cells[place] if place < len(cells) else "" for place in places]
    if not all(values):
        raise DataError(
            "every line has a file and a label", received=f"{source}, line {line}: {cells}"
        )
    file = source.parent / values[0]
    if "\\" in values[0] and not file.exists():
        file = source.parent / values[0].replace("\\", "/")
    return LabelRow(line=line, file=file, label=values[1])


def drop_repeated(rows: Sequence[LabelRow], source: Path) -> tuple[list[LabelRow], list[str]]:
    """Keep the first row of each file, and note how many were dropped.

    Raises:
        DataError: Two rows give one file different labels.
    """
    first: dict[Path, LabelRow] = {}
    repeated = 0
    for row in rows:
        known = first.setdefault(row.file, row)
        if known.label != row.label:
            raise DataError(
                "a file has two labels",
                received=f"{source}, lines {known.line} and {row.line}: {row.file.name} is "
                f"{known.label!r} and {row.label!r}",
                remedy="remove one of the lines",
            )
        repeated += known is not row
    notes = [f"repeated lines of {CSV_NAME}, left out: {repeated}"] if repeated else []
    return list(first.values()), notes
