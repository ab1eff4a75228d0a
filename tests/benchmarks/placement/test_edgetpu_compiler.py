from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from fake_edgetpu import build_compiled

from edgevision.benchmarks.placement.edgetpu_compiler import compile_model
from edgevision.benchmarks.placement.explain import explain
from edgevision.cli.app import run as run_command
from edgevision.errors import DelegateError, InvalidConfigError, UnsupportedOpError
from edgevision.graph.flatbuffer import ModelEditor, create_empty_model
from edgevision.specs import Quantization

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the compiler is for Linux")

LOG = """Edge TPU Compiler version 16.0.384591198
Model compiled successfully in 11 ms.
On-chip memory used for caching model parameters: 2.00KiB
On-chip memory remaining for caching model parameters: 1.00MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
"""
TABLE = """
Operator                       Count      Status

RELU                           2          Mapped to Edge TPU
RELU                           1          Operation is otherwise supported, but not mapped
DEQUANTIZE                     1          Operation is working on an unsupported data type
"""


def build_chain(*names: str) -> bytes:
    """Operations on bytes, each behind the other; the last may turn them into floats."""
    editor = ModelEditor(create_empty_model())
    grid = Quantization((1 / 64,), (0,))
    first = last = editor.add_tensor("x", shape=(1, 4), dtype="int8", quantization=grid)
    for i, name in enumerate(names):
        plain = name == "DEQUANTIZE"
        dtype, scales = ("float32", None) if plain else ("int8", grid)
        output = editor.add_tensor(f"y{i}", shape=(1, 4), dtype=dtype, quantization=scales)
        editor.add_op(name, [last], [output])
        last = output
    editor.set_inputs([first])
    editor.set_outputs([last])
    return editor.to_bytes()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "chain.tflite"
    path.write_bytes(build_chain("RELU", "RELU", "RELU", "DEQUANTIZE"))
    return path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a program on the PATH that does what a shell script says; $3 is the output folder."""

    def write(script: str) -> None:
        program = tmp_path / "bin/edgetpu_compiler"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return write


@pytest.fixture
def compiler(tmp_path: Path, install) -> None:
    """A compiler that takes two of three RELU and prints its table."""
    compiled, text = tmp_path / "answer.tflite", tmp_path / "log.txt"
    compiled.write_bytes(build_chain("CUSTOM:edgetpu-custom-op", "RELU", "DEQUANTIZE"))
    text.write_text(LOG + TABLE)
    install(f'cp {compiled} "$3/model_edgetpu.tflite" && cat {text}')


def test_the_compiler_stands_beside_the_prediction(compiler, source: Path) -> None:
    document = explain(source, device="edgetpu", run_compiler=True).to_dict()["compilation"]
    assert (document["cached_bytes"], document["free_bytes"]) == (2048, 1 << 20)
    assert (document["ops_mapped"], document["ops_predicted"]) == (2, 3)
    float_end, relu = document["ops"]
    assert relu == {
        "op": "RELU",
        "total": 3,
        "predicted": 3,
        "mapped": 2,
        "statuses": ["Operation is otherwise supported, but not mapped"],
    }
    assert (float_end["op"], float_end["predicted"], float_end["mapped"]) == ("DEQUANTIZE", 0, 0)


def test_the_command_prints_both(compiler, source: Path, capsys) -> None:
    command = ["explain", str(source), "--device", "edgetpu", "--compile"]
    assert run_command(command) == 0
    text = capsys.readouterr().out
    assert "mapped 2 of 4 ops; predicted were 3" in " ".join(text.split())
    assert run_command([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["compilation"]["version"] == "16.0.384591198"


def test_table_is_read_from_the_log_file_too(tmp_path: Path, install, source: Path) -> None:
    shutil.copyfile(source, tmp_path / "answer.tflite")
    (tmp_path / "out.txt").write_text(LOG)
    (tmp_path / "table.txt").write_text(TABLE)
    install(
        f'cd {tmp_path} && cp answer.tflite "$3/model_edgetpu.tflite" && '
        'cp table.txt "$3/model_edgetpu.log" && cat out.txt'
    )
    compilation = compile_model(source)
    assert len(compilation.log.rows) == 3
    assert [row.mapped for row in compilation.counts] == [0, 0]  # nothing was taken out


def test_without_compiler_there_is_one_clear_line(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DelegateError, match="not on the PATH"):
        compile_model(source)
    assert run_command(["explain", str(source), "--device", "edgetpu", "--compile"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: edgetpu_compiler is not on the PATH")
    assert "x86-64 Linux" in line


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "Invalid model: $4"; echo Model not quantized; exit 1', "--scheme edgetpu"),
        ("echo 'Internal compiler error. Aborting!'", "Internal compiler error"),
        ("kill -SEGV $$", "exit code -11"),
        ("sleep 30 & sleep 30", "did not end within"),
    ],
)
def test_refusals_are_told(install, source: Path, script: str, said: str) -> None:
    install(script)
    with pytest.raises(UnsupportedOpError, match=said):
        compile_model(source, timeout_s=0.3 if "sleep" in script else 60)


def test_what_is_compiled_or_for_another_device_is_not_compiled(tmp_path, tiny_tflite) -> None:
    path = tmp_path / "done.tflite"
    path.write_bytes(build_compiled())
    with pytest.raises(InvalidConfigError, match="compiled already"):
        compile_model(path)
    with pytest.raises(InvalidConfigError, match="device=cpu"):
        explain(tiny_tflite, run_compiler=True)


def test_real_pairs_count_as_the_compiler_did(real_data: Path, install, tmp_path: Path) -> None:
    pairs = real_data / "edgetpu_pairs"
    source = pairs / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    install(f'cp {pairs}/{source.stem}_edgetpu.tflite "$3/model_edgetpu.tflite"')
    compilation = compile_model(source).to_dict()
    assert compilation["ops_mapped"] == compilation["ops_predicted"]
