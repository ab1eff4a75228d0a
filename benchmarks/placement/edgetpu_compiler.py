"""Google's compiler for the Edge TPU, where it is installed: what it says about a file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgevision.errors import DelegateError, InvalidModelError
from edgevision.outputs import write_bytes
from edgevision.specs import Device

COMPILER = "edgetpu_compiler"
TIMEOUT_S = 600
MAPPED = "Mapped to Edge TPU"
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = r"([\d.]+)\s*(B|KiB|MiB|GiB)"
_OPERATOR = re.compile(r"^([A-Z][A-Za-z0-9_]*(?:-[\w-]+)?)\s+(\d+)\s+(\S.*)$", re.MULTILINE)
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCount:
    """A line of the compiler's table.

    Attributes:
        op: Name of the operation.
        count: How many of them.
        status: The compiler's words for what became of them.
    """

    op: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether they run on the Edge TPU."""
        return self.status == MAPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerLog:
    """What the compiler printed.

    Attributes:
        version: Of the compiler, empty where it did not say.
        cached_bytes: Parameters that stay in the device's memory; ``None`` where it did not say.
        remaining_bytes: Memory left for those of other models.
        streamed_bytes: Parameters that go over the bus at every inference.
        operators: Its table.
    """

    version: str
    cached_bytes: int | None
    remaining_bytes: int | None
    streamed_bytes: int | None
    operators: tuple[OperatorCount, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


def parse_log(text: str) -> CompilerLog:
    """Read the compiler's output.

    >>> log = parse_log("On-chip memory used for caching model parameters: 1.50KiB")
    >>> log.cached_bytes, log.streamed_bytes
    (1536, None)
    """
    version = _VERSION.search(text)
    return CompilerLog(
        version=version.group(1) if version else "",
        cached_bytes=_find_bytes(text, "On-chip memory used for caching model parameters"),
        remaining_bytes=_find_bytes(text, "On-chip memory remaining for caching model parameters"),
        streamed_bytes=_find_bytes(
            text, "Off-chip memory used for streaming uncached model parameters"
        ),
        operators=tuple(
            OperatorCount(op=op, count=int(count), status=status.strip())
            for op, count, status in _OPERATOR.findall(text)
        ),
    )


def compile_file(path: str | Path, output: str | Path) -> CompilerLog:
    """Compile an int8 ``.tflite`` file for the Edge TPU.

    Args:
        path: The quantized file.
        output: Where the compiled file goes.

    Raises:
        DelegateError: The compiler is not installed.
        InvalidModelError: It refuses the file, or does not end.
        OutputError: ``output`` can not be written.
    """
    program = shutil.which(COMPILER)
    if program is None:
        raise DelegateError(
            f"{COMPILER} is not installed",
            device=Device.EDGETPU,
            remedy="install it from Google's package source for Coral; it runs on x86-64 Linux "
            "only. Without it `edgevision explain --device edgetpu` predicts",
        )
    path = Path(path)
    with TemporaryDirectory() as folder:
        command = [program, "-s", "-t", str(TIMEOUT_S), "-o", folder, os.fspath(path.absolute())]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S + 30, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise _refuse(path, f"no end within {TIMEOUT_S} s") from error
        text = done.stdout + done.stderr
        compiled = Path(folder) / f"{path.stem}_edgetpu.tflite"
        if done.returncode or not compiled.is_file():
            raise _refuse(path, _find_error(text))
        write_bytes(output, compiled.read_bytes())
    return parse_log(text)


def _refuse(path: Path, reason: str) -> InvalidModelError:
    return InvalidModelError(
        f"{COMPILER} did not compile the file",
        received=f"{path}: {reason}",
        remedy="quantize the float file with --scheme edgetpu",
    )


def _find_error(text: str) -> str:
    """Return the line in which the compiler complains."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [li for li in lines if re.search(r"error|invalid|not quantized|failed", li, re.I)]
    return (wrong or lines or ["it said nothing"])[0]


def _find_bytes(text: str, label: str) -> int | None:
    found = re.search(re.escape(label) + r":\s*" + _SIZE, text)
    return round(float(found.group(1)) * _UNITS[found.group(2)]) if found else None
