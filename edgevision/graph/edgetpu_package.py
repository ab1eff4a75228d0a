"""What Google's compiler wrote into its operation: programs and parameters for the Edge TPU.

The options of ``edgetpu-custom-op`` are a map whose entry "4" is a package of executables. Its
schema is published with the runtime:
https://github.com/google-coral/libedgetpu/blob/master/executable/executable.fbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgevision.errors import InvalidModelError
from edgevision.graph.flexbuffers import read_strings
from edgevision.graph.graph import Graph
from edgevision.graph.tables import Source, Table, read_root

COMPILED_OP = "CUSTOM:edgetpu-custom-op"
"""What the compiler puts in the place of everything that it maps."""

_PACKAGE_KEY = "4"
_PARAMETER_CACHING = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTpuPackage:
    """What one compiled operation holds.

    Attributes:
        compiler: Version of the compiler, empty where it does not say.
        min_runtime: The oldest version of the runtime that can load it.
        cached_bytes: Parameters that are loaded once and stay on the chip.
        streamed_bytes: Parameters that cross the bus for every image.
        instruction_bytes: Programs, which cross the bus too.
        scratch_bytes: Memory of the host that a run needs beside inputs and outputs.
        estimated_cycles: The compiler's own estimate; 0 where it makes none.
    """

    compiler: str
    min_runtime: int
    cached_bytes: int
    streamed_bytes: int
    instruction_bytes: int
    scratch_bytes: int
    estimated_cycles: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def read_packages(graph: Graph) -> tuple[EdgeTpuPackage, ...]:
    """Read the packages of a compiled file, one for each compiled operation.

    Raises:
        InvalidModelError: One of them is damaged, or of a form that is not published.
    """
    return tuple(
        read_package(op.attributes["custom_options"]) for op in graph.ops if op.name == COMPILED_OP
    )


def read_package(options: bytes) -> EdgeTpuPackage:
    """Read the options of one ``edgetpu-custom-op``.

    Raises:
        InvalidModelError: They hold no package, or a damaged one.
    """
    data = read_strings(options).get(_PACKAGE_KEY, b"")
    if data[4:8] != b"DWN1":
        raise InvalidModelError(
            "a compiled operation holds no Edge TPU package",
            received=f"{len(options)} bytes of options",
            remedy="compile the model again with edgetpu_compiler",
        )
    package = read_root(data)
    executables = _list_executables(package)
    cached = [e for e in executables if e.scalar(13, "h", 0) == _PARAMETER_CACHING]
    running = [e for e in executables if e.scalar(13, "h", 0) != _PARAMETER_CACHING]
    return EdgeTpuPackage(
        compiler=package.text(4).removeprefix("cl/"),
        min_runtime=package.scalar(0, "i", 0),
        cached_bytes=_count_parameters(cached),
        streamed_bytes=_count_parameters(running),
        instruction_bytes=sum(s.span(0)[1] for e in running for s in e.tables(5)),
        scratch_bytes=sum(e.scalar(4, "i", 0) for e in running),
        estimated_cycles=sum(e.scalar(16, "q", 0) or e.scalar(11, "i", 0) for e in running),
    )


def _list_executables(package: Table) -> list[Table]:
    """Open the executables, each a FlatBuffers file inside a file inside the package."""
    inner = _open_inside(package.source, *package.span(1))
    start, count = inner.span(0, 4)
    source = inner.source
    places = [source.vector(source.follow(start + 4 * i), 1) for i in range(count)]
    return [_open_inside(source, *place) for place in places]


def _open_inside(source: Source, start: int, num_bytes: int) -> Table:
    return read_root(source.view[start : start + num_bytes])


def _count_parameters(executables: Sequence[Table]) -> int:
    return sum(executable.span(6)[1] for executable in executables)
