"""Google's compiler for the Edge TPU, where it is installed: what it says about a file."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgevision.errors import DelegateError, InvalidConfigError, InvalidModelError
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.edgetpu_rules import find_refusals
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.outputs import write_bytes
from edgevision.specs import Device

COMPILER = "edgetpu_compiler"
TIMEOUT_S = 600
MAPPED = "Mapped to Edge TPU"
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = r"([\d.]+)\s*(B|KiB|MiB|GiB)"
_OPERATOR = re.compile(r"^([A-Z][A-Za-z0-9_]*(?:-[\w-]+)?)[ \t]+(\d+)[ \t]+(\S.*)$", re.MULTILINE)
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
# Lines of a failed run that say nothing of why it failed.
_CHATTER = ("Edge TPU Compiler version", "Started a compilation timeout", "Compilation child")
_SHORT_S = 30.0  # for the compiler's help, and for a killed one to close its pipes
_REMEDIES = (
    (r"not quantized", "quantize the float file with `edgevision quantize --scheme edgetpu`"),
    (r"dynamic", "convert it with a fixed input size and batch"),
    (r"(?i)version|could not parse", "quantize it with --scheme edgetpu, or update the compiler"),
)
_OTHER_REMEDY = "a smaller input or a part of the model often compiles; `explain` tells likely ones"


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
        InvalidConfigError: The file is compiled already.
        InvalidModelError: It refuses the file, or does not end.
        OutputError: ``output`` can not be written.
    """
    path = Path(path)
    if any(op.name == COMPILED_OP for op in read_tflite(path).ops):
        raise InvalidConfigError(
            "the file is compiled already",
            received=path,
            remedy="explain it without --compile: it holds the compiler's answer",
        )
    program = _find_compiler()
    with TemporaryDirectory() as folder:
        source = Path(folder) / "model.tflite"
        shutil.copyfile(path, source)
        text, code = _run([program, "-s", *_limit_time(program), "-o", folder, str(source)], path)
        compiled = source.with_name("model_edgetpu.tflite")
        if code or not compiled.is_file():
            raise _refuse(path, find_complaint(text) or f"no word, exit code {code}")
        write_bytes(output, compiled.read_bytes())
    return parse_log(text)


def _find_compiler() -> str:
    program = shutil.which(COMPILER)
    if program is None:
        raise DelegateError(
            f"{COMPILER} is not installed",
            device=Device.EDGETPU,
            remedy="install it from Google's package source for Coral; it runs on x86-64 Linux "
            "only. Without it `edgevision explain --device edgetpu` predicts",
        )
    return program


def _limit_time(program: str) -> tuple[str, ...]:
    """Return the option that lifts the limit of three minutes; older compilers have neither."""
    with suppress(subprocess.TimeoutExpired):
        told = subprocess.run(
            [program, "--help"], capture_output=True, text=True, timeout=_SHORT_S, check=False
        )
        if "timeout_sec" in told.stdout + told.stderr:
            return ("-t", str(TIMEOUT_S))
    return ()


def _run(command: Sequence[str], path: Path) -> tuple[str, int]:
    """Run the compiler; return all that it wrote, and its exit code."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=TIMEOUT_S + _SHORT_S)
    except subprocess.TimeoutExpired as error:
        raise _refuse(path, f"no end within {TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            # Newer versions compile in a child of their own, which must end too.
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=_SHORT_S)
    return text, process.returncode


def _refuse(path: Path, reason: str) -> InvalidModelError:
    fitting = (remedy for pattern, remedy in _REMEDIES if re.search(pattern, reason))
    return InvalidModelError(
        f"{COMPILER} did not compile the file",
        received=f"{path}: {reason}",
        remedy=next(fitting, _OTHER_REMEDY),
    )


def find_complaint(text: str) -> str:
    r"""Return what the compiler says of a file that it refuses, in its words.

    >>> find_complaint("Edge TPU Compiler version 15.0\nInvalid model: a\nModel not quantized\n")
    'Invalid model: a; Model not quantized'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join([line for line in lines if not line.startswith(_CHATTER)][-3:])


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedCount:
    """One kind of operation: how many there are, and where they were put.

    Attributes:
        op: Name as in the file, ``CONV_2D`` for one.
        total: In the file before compiling.
        predicted: How many of them the published rules give to the Edge TPU.
        mapped: How many the compiler took.
        statuses: Why it left the others, in its own words.
    """

    op: str
    total: int
    predicted: int
    mapped: int
    statuses: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "statuses": list(self.statuses)}


def count_mapped(source: Graph, compiled: Graph, log: CompilerLog) -> tuple[MappedCount, ...]:
    """Set what the compiler took beside what was predicted, by kind of operation.

    What the compiled file still holds was left to the CPU; the log only adds the words.

    Args:
        source: The file before compiling.
        compiled: The file that the compiler wrote.
        log: What it printed.
    """
    totals = Counter(op.name for op in source.ops)
    refused = Counter(refusal.op.name for refusal in find_refusals(source))
    left = Counter(op.name for op in compiled.ops if op.name != COMPILED_OP)
    return tuple(
        MappedCount(
            op=name,
            total=total,
            predicted=total - refused[name],
            # The compiler may leave more QUANTIZE on the CPU than there were.
            mapped=max(0, total - left[name]),
            statuses=_find_statuses(name, log),
        )
        for name, total in sorted(totals.items())
    )


def _find_statuses(name: str, log: CompilerLog) -> tuple[str, ...]:
    known = "CUSTOM" if name.startswith("CUSTOM:") else name
    left = (row.status for row in log.operators if row.op == known and not row.mapped)
    return tuple(dict.fromkeys(left))


def _find_bytes(text: str, label: str) -> int | None:
    found = re.search(re.escape(label) + r":\s*" + _SIZE, text)
    return round(float(found.group(1)) * _UNITS[found.group(2)]) if found else None
