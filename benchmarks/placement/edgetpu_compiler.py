"""Google's Edge TPU compiler, where it is installed: what it really takes, beside the prediction.

The compiler is a closed program for x86-64 Linux. It is run on a copy in a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevision.benchmarks.placement.edgetpu import COMPILED_OP, place_ops
from edgevision.benchmarks.placement.edgetpu_log import CompilerLog, find_complaint, read_log
from edgevision.errors import DelegateError, InvalidConfigError, UnsupportedOpError
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import read_tflite
from edgevision.specs import Device

COMPILER = "edgetpu_compiler"
TIMEOUT_S = 600.0
_SCRAP = 5.0  # seconds that a killed compiler gets to close its pipes
_REMEDIES = (
    ("not quantized", "quantize it with `edgevision quantize --scheme edgetpu`"),
    ("dynamic", "convert it with a fixed input size and batch"),
    ("version", "this compiler is older than the file's operations: update it"),
)
_OTHERWISE = (
    "compile a part of it to find the cause; a smaller input or a smaller model often compiles"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCount:
    """One kind of operation: how many there are, and where they were put.

    Attributes:
        op: Name as in the file, ``CONV_2D`` for one.
        total: In the file.
        predicted: How many of them the published rules give to the Edge TPU.
        mapped: How many the compiler took.
        statuses: Why it left the others, in its own words.
    """

    op: str
    total: int
    predicted: int
    mapped: int
    statuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What the compiler made of a model, beside what was predicted.

    Attributes:
        log: What it wrote.
        file_bytes: Size of the compiled file.
        counts: One row for each kind of operation of the file.
    """

    log: CompilerLog
    file_bytes: int
    counts: tuple[OpCount, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        log = asdict(self.log)
        log.pop("rows")
        return {
            **log,
            "file_bytes": self.file_bytes,
            "ops_mapped": sum(row.mapped for row in self.counts),
            "ops_predicted": sum(row.predicted for row in self.counts),
            "ops": [{**asdict(row), "statuses": list(row.statuses)} for row in self.counts],
        }


def compile_model(path: str | Path, *, timeout_s: float = TIMEOUT_S) -> Compilation:
    """Compile a quantized model, count what the Edge TPU got, and throw the result away.

    Args:
        path: A ``.tflite`` file that is not compiled yet.
        timeout_s: The compiler is ended after this time.

    Raises:
        DelegateError: The compiler is not installed.
        InvalidConfigError: The file is compiled already.
        UnsupportedOpError: The compiler refuses the model, crashes or takes too long.
        InvalidModelError: The file is damaged.
    """
    graph = read_tflite(path)
    if any(op.name == COMPILED_OP for op in graph.ops):
        raise InvalidConfigError(
            "the file is compiled already",
            received=path,
            remedy="explain it without --compile: what it holds is the compiler's answer",
        )
    compiler = _find_compiler()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "model.tflite"
        shutil.copyfile(path, source)
        text = _run_compiler([compiler, "-s", "-o", name, str(source)], path, timeout_s)
        output = folder / "model_edgetpu.tflite"
        if not output.is_file():
            raise _explain_refusal(path, text)
        log = _read_best_log(text, folder / "model_edgetpu.log")
        return Compilation(
            log=log,
            file_bytes=output.stat().st_size,
            counts=count_ops(graph, read_tflite(output), log),
        )


def _find_compiler() -> str:
    found = shutil.which(COMPILER)
    if found is None:
        raise DelegateError(
            f"{COMPILER} is not on the PATH",
            device=Device.EDGETPU,
            remedy="install edgetpu-compiler from Google's package source for Coral (x86-64 Linux "
            "only); without --compile the placement is predicted",
        )
    return found


def _run_compiler(command: Sequence[str], path: str | Path, timeout_s: float) -> str:
    """Run the compiler and return all that it wrote."""
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
        text, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise UnsupportedOpError(
            f"{COMPILER} did not end within {timeout_s:g} s", received=path, remedy=_OTHERWISE
        ) from error
    finally:
        if process.returncode is None:
            # Version 16 compiles in a child of its own, which must end too.
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate(timeout=_SCRAP)
    if process.returncode != 0:
        raise _explain_refusal(path, text or f"exit code {process.returncode}")
    return text


def _explain_refusal(path: str | Path, text: str) -> UnsupportedOpError:
    said = find_complaint(text) or "it says nothing"
    remedy = next((remedy for part, remedy in _REMEDIES if part in said), _OTHERWISE)
    return UnsupportedOpError(
        f"{COMPILER} refuses the model", received=f"{path}: {said}", remedy=remedy
    )


def _read_best_log(text: str, file: Path) -> CompilerLog:
    """Read the output, or the file beside the compiled model where only that has the table."""
    log = read_log(text)
    if log.rows or not file.is_file():
        return log
    return read_log(f"{text}\n{file.read_text(encoding='utf-8', errors='replace')}")


def count_ops(source: Graph, compiled: Graph, log: CompilerLog) -> tuple[OpCount, ...]:
    """Count where the operations of a file went, by kind.

    What the compiled file still holds was left to the CPU; the rest went into the Edge TPU's own
    operation. The log only adds the words.

    Args:
        source: The file before compiling.
        compiled: The file that the compiler wrote.
        log: What it said.
    """
    totals = Counter(op.name for op in source.ops)
    left = Counter(op.name for op in compiled.ops if op.name != COMPILED_OP)
    reasons = place_ops(source).reasons
    predicted = Counter(
        op.name for op, reason in zip(source.ops, reasons, strict=True) if not reason
    )
    return tuple(
        OpCount(
            op=name,
            total=total,
            predicted=predicted[name],
            # The compiler may leave more QUANTIZE on the CPU than there were.
            mapped=max(0, total - left[name]),
            statuses=tuple(dict.fromkeys(_find_statuses(name, log))),
        )
        for name, total in sorted(totals.items())
    )


def _find_statuses(name: str, log: CompilerLog) -> list[str]:
    known = "CUSTOM" if name.startswith("CUSTOM:") else name
    return [row.status for row in log.rows if row.op == known and not row.mapped]
