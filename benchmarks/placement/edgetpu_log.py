"""What Google's Edge TPU compiler writes about a model that it compiled.

The form is that of versions 2 to 16, whose output is public in many reports; nothing specifies it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAPPED = "Mapped to Edge TPU"

_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_SUBGRAPHS = re.compile(r"Number of Edge TPU subgraphs: (\d+)")
_HEADING = re.compile(r"^Operator\s+Count\s+Status\s*$", re.MULTILINE)
_ROW = re.compile(r"^(?P<op>\S+)\s+(?P<count>\d+)\s+(?P<status>\S.*?)\s*$")
_SIZE = r"{name} for (?:caching|streaming uncached) model parameters: ([\d.]+)([KMG]i)?B"
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """One line of the compiler's table.

    Attributes:
        op: TFLite name; every custom operation is ``CUSTOM``.
        count: How many of them share the status.
        status: The compiler's words.
    """

    op: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether the Edge TPU runs them."""
        return self.status == MAPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerLog:
    """What the compiler said. Sizes are rounded as it rounds them; ``None`` is what it left out.

    Attributes:
        version: Of the compiler.
        cached_bytes: Weights that stay in the Edge TPU's memory.
        free_bytes: What is left there for weights.
        streamed_bytes: Weights that go over the bus at every inference.
        subgraphs: Number of calls of the device.
        rows: The table of operations.
    """

    version: str
    cached_bytes: int | None
    free_bytes: int | None
    streamed_bytes: int | None
    subgraphs: int | None
    rows: tuple[StatusRow, ...]


def read_log(text: str) -> CompilerLog:
    """Read the compiler's output, or its log file, about one model.

    Args:
        text: With ``--show_operations`` also the table of operations.

    >>> log = read_log('''Edge TPU Compiler version 16.0.384591198
    ... On-chip memory used for caching model parameters: 1.50MiB
    ... Operator                       Count      Status
    ...
    ... CONV_2D                        13         Mapped to Edge TPU''')
    >>> log.cached_bytes, log.rows[0].count, log.rows[0].mapped
    (1572864, 13, True)
    """
    cached = _read_size(text, "On-chip memory used")
    free = _read_size(text, "On-chip memory remaining")
    if free is None:  # version 2.0 tells how much there was before
        available = _read_size(text, "On-chip memory available")
        free = None if available is None or cached is None else available - cached
    version, subgraphs = _VERSION.search(text), _SUBGRAPHS.search(text)
    return CompilerLog(
        version=version[1] if version else "",
        cached_bytes=cached,
        free_bytes=free,
        streamed_bytes=_read_size(text, "Off-chip memory used"),
        subgraphs=int(subgraphs[1]) if subgraphs else None,
        rows=tuple(_read_rows(text)),
    )


def _read_size(text: str, name: str) -> int | None:
    found = re.search(_SIZE.format(name=re.escape(name)), text)
    return round(float(found[1]) * _UNITS[found[2] or ""]) if found else None


def _read_rows(text: str) -> Iterator[StatusRow]:
    heading = _HEADING.search(text)
    if heading is None:
        return
    for line in text[heading.end() :].splitlines():
        found = _ROW.match(line)
        if found is not None:
            yield StatusRow(op=found["op"], count=int(found["count"]), status=found["status"])
        elif line.strip():
            return


def find_complaint(text: str) -> str:
    r"""Return what the compiler says of a model that it refuses, in its words.

    >>> find_complaint("Edge TPU Compiler version 15.0\nInvalid model: a\nModel not quantized\n")
    'Invalid model: a; Model not quantized'
    """
    lines = [line.strip() for line in text.splitlines()]
    said = [line for line in lines if line and not _VERSION.match(line)]
    noise = ("Started a compilation timeout", "Compilation child process")
    kept = [line for line in said if not line.startswith(noise)]
    return "; ".join(kept[-3:])
