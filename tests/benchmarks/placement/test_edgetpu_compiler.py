from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgevision.benchmarks.placement.edgetpu_compiler import (
    CompilerLog,
    OperatorCount,
    compile_file,
    parse_log,
)
from edgevision.benchmarks.placement.explain import explain_compiled
from edgevision.errors import DelegateError, InvalidModelError

# In the form of https://coral.ai/docs/edgetpu/compiler/, with figures of our own.
LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 600 seconds.

Model compiled successfully in 271 ms.

Input model: net.tflite
Input size: 1.50MiB
Output model: net_edgetpu.tflite
Output size: 1.75MiB
On-chip memory used for caching model parameters: 1.25MiB
On-chip memory remaining for caching model parameters: 6.00MiB
Off-chip memory used for streaming uncached model parameters: 512.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 4
Operation log: net_edgetpu.log

Operator                       Count      Status

CONV_2D                        2          Mapped to Edge TPU
ARG_MAX                        1          Operation not supported
QUANTIZE                       1          More than one subgraph is not supported
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of the compiler's name on the path."""
    program = folder / "edgetpu_compiler"
    program.write_text(f"#!{sys.executable}\nimport pathlib, shutil, sys\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_log() -> None:
    assert parse_log(LOG) == CompilerLog(
        version="16.0.384591198",
        cached_bytes=5 << 18,
        remaining_bytes=6 << 20,
        streamed_bytes=512,
        operators=(
            OperatorCount(op="CONV_2D", count=2, status="Mapped to Edge TPU"),
            OperatorCount(op="ARG_MAX", count=1, status="Operation not supported"),
            OperatorCount(
                op="QUANTIZE",
                count=1,
                status="More than one subgraph is not supported",
            ),
        ),
    )
    assert [line.mapped for line in parse_log(LOG).operators] == [True, False, False]


def test_log_of_another_version_tells_what_it_can() -> None:
    log = parse_log("something new")
    assert (log.version, log.cached_bytes, log.operators) == ("", None, ())


def test_without_a_compiler(
    tiny_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DelegateError, match=r"not installed.*x86-64"):
        compile_file(tiny_tflite, tmp_path / "out.tflite")


def test_compiled_file_is_kept_and_explained(
    tiny_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        tmp_path,
        monkeypatch,
        "source = pathlib.Path(sys.argv[-1])\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        "shutil.copy(source, folder / f'{source.stem}_edgetpu.tflite')\n"
        f"print({LOG!r})",
    )
    output = tmp_path / "out.tflite"
    document = explain_compiled(tiny_tflite, output).to_dict()
    assert output.read_bytes() == tiny_tflite.read_bytes()
    assert document["compiler"]["cached_bytes"] == 5 << 18
    assert any("512 bytes" in note for note in document["notes"])
    assert any("the rules predicted" in note for note in document["notes"])


def test_refusal_is_one_line_and_leaves_nothing(
    tiny_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        tmp_path,
        monkeypatch,
        "print('Edge TPU Compiler version 16.0')\nprint('Invalid model: net')\n"
        "print('Model not quantized')\nsys.exit(1)",
    )
    output = tmp_path / "out.tflite"
    with pytest.raises(InvalidModelError, match=r"Invalid model.*--scheme edgetpu"):
        compile_file(tiny_tflite, output)
    assert not output.exists()
