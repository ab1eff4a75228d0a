from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from fake_edgetpu import build_chain, build_compiled

from edgevision.benchmarks.placement import edgetpu_compiler
from edgevision.benchmarks.placement.edgetpu_compiler import (
    CompilerLog,
    OperatorCount,
    compile_file,
    count_mapped,
    parse_log,
)
from edgevision.benchmarks.placement.explain import explain_compiled
from edgevision.cli.app import run as run_command
from edgevision.errors import DelegateError, InvalidConfigError, InvalidModelError
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.tflite import read_tflite

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


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.tflite"
    path.write_bytes(build_chain("RELU", "RELU", "RELU", "DEQUANTIZE"))
    return path


COUNTS = """Operator                       Count      Status

RELU                           2          Mapped to Edge TPU
RELU                           1          Operation is otherwise supported, but not mapped
DEQUANTIZE                     1          Operation is working on an unsupported data type
Compilation child process completed within timeout period.
"""


def answer(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, *names: str) -> None:
    """Install a compiler that prints this, and writes a file of these operations."""
    (folder / "answer").write_bytes(build_chain(*names))
    script = (
        "folder = pathlib.Path(sys.argv[sys.argv.index('-o') + 1])\n"
        f"shutil.copy({str(folder / 'answer')!r}, folder / 'model_edgetpu.tflite')\n"
        f"print({text!r})"
    )
    install(folder, monkeypatch, f"if '--help' in sys.argv: sys.exit()\n{script}")


@pytest.mark.parametrize("in_place", [False, True])
def test_what_was_mapped_stands_beside_the_prediction(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    answer(tmp_path, monkeypatch, LOG + COUNTS, COMPILED_OP, "RELU", "DEQUANTIZE")
    output = chain if in_place else tmp_path / "out.tflite"
    float_end, relu = explain_compiled(chain, output).to_dict()["mapped"]
    assert relu == {
        "op": "RELU",
        "total": 3,
        "predicted": 3,
        "mapped": 2,
        "statuses": ["Operation is otherwise supported, but not mapped"],
    }
    assert (float_end["op"], float_end["predicted"], float_end["mapped"]) == ("DEQUANTIZE", 0, 0)


def test_the_command_prints_both(
    chain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(tmp_path, monkeypatch, COUNTS, COMPILED_OP, "RELU", "DEQUANTIZE")
    command = ["explain", str(chain), "--device", "edgetpu", "--compile", str(tmp_path / "o")]
    assert run_command(command) == 0
    assert "otherwise supported" in capsys.readouterr().out
    assert run_command([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mapped"][1]["mapped"] == 2


def test_without_a_compiler_the_command_says_so_in_one_line(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["explain", str(chain), "--device", "edgetpu", "--compile", str(tmp_path / "o")]
    assert run_command(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: edgetpu_compiler is not installed")


@pytest.mark.parametrize("knows_timeout", [True, False])
def test_only_newer_compilers_are_given_a_limit(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows_timeout: bool
) -> None:
    told = "-t, --timeout_sec" if knows_timeout else "-s"
    install(
        tmp_path, monkeypatch, f"print({told!r} if '--help' in sys.argv else sys.argv); sys.exit(1)"
    )
    with pytest.raises(InvalidModelError) as caught:
        compile_file(chain, tmp_path / "out.tflite")
    assert ("'-t', '600'" in str(caught.value)) is knows_timeout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('Internal compiler error. Aborting!')", r"Aborting!.*a smaller input"),
        ("print('ERROR: dynamic-sized tensors'); sys.exit(1)", "fixed input size"),
        ("import os; os.kill(os.getpid(), 11)", "exit code -11"),
        ("import os, time; os.fork(); time.sleep(30)", "no end within"),
    ],
)
def test_causes_are_told_with_what_helps(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    install(tmp_path, monkeypatch, f"if '--help' in sys.argv: sys.exit()\n{script}")
    if "sleep" in script:
        monkeypatch.setattr(edgetpu_compiler, "TIMEOUT_S", 0.2)
        monkeypatch.setattr(edgetpu_compiler, "_SHORT_S", 0.2)
    with pytest.raises(InvalidModelError, match=said):
        compile_file(chain, tmp_path / "out.tflite")


def test_what_is_compiled_is_not_compiled_again(tmp_path: Path) -> None:
    path = tmp_path / "done.tflite"
    path.write_bytes(build_compiled())
    with pytest.raises(InvalidConfigError, match="compiled already"):
        compile_file(path, tmp_path / "out.tflite")


def test_counts_of_real_pairs(real_data: Path) -> None:
    log = parse_log("")
    for compiled in sorted((real_data / "edgetpu_pairs").glob("*_edgetpu.tflite")):
        source = compiled.with_name(compiled.name.replace("_edgetpu", ""))
        counts = count_mapped(read_tflite(source), read_tflite(compiled), log)
        assert [c.mapped for c in counts] == [c.predicted for c in counts], source.name
