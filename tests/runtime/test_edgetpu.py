from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_classifier

from edgevision.errors import DelegateError, InvalidConfigError
from edgevision.graph.edgetpu_package import COMPILED_OP
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.tflite import read_tflite
from edgevision.runtime import edgetpu, litert
from edgevision.runtime.session import Session
from edgevision.runtime.sessions import open_session

LIBRARY = "libedgetpu_of_a_test.so"
PLUGIN = """
#include <stddef.h>
#include <stdlib.h>
typedef void (*report_t)(const char *);
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, report_t report) {
    %s
    return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) {}
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A file that looks compiled: its last operation is the compiler's."""
    model = build_classifier()
    graph = read_tflite(model)
    editor = ModelEditor(model)
    output = graph.tensors[graph.outputs[0]]
    after = editor.add_tensor("mapped", shape=output.shape)
    editor.add_op(COMPILED_OP, [output.index], [after], custom_options=b"any")
    editor.set_outputs([after])
    path = tmp_path / "m_edgetpu.tflite"
    path.write_bytes(editor.to_bytes())
    return path


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Build a library whose only answer is the given statement."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler")

    def build(statement: str) -> None:
        source, library = tmp_path / "plugin.c", tmp_path / LIBRARY
        source.write_text(PLUGIN % statement)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        monkeypatch.setattr(edgetpu, "name_edgetpu_library", lambda: str(library))
        # The trial is made here: a child process knows nothing of the other library.
        monkeypatch.setattr(edgetpu, "run_isolated", lambda call, *a, timeout_s: call(*a))

    return build


def test_a_missing_library_is_told(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edgetpu, "name_edgetpu_library", lambda: "libnone_of_that_name.so")
    with pytest.raises(DelegateError, match=r"library can not be loaded.*install libedgetpu"):
        edgetpu.run_once(str(compiled), "", 1)


def test_a_file_that_is_not_compiled_is_refused(tiny_tflite: Path) -> None:
    with pytest.raises(DelegateError, match=r"not compiled.*edgetpu_compiler") as caught:
        open_session(tiny_tflite, device="edgetpu")
    assert caught.value.device == "edgetpu"


def test_onnx_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x07\x3a\x00")
    with pytest.raises(DelegateError, match=r"compiled \.tflite files only"):
        open_session(path, device="edgetpu")


def test_no_device_is_told(compiled: Path, plugin: Callable[[str], None]) -> None:
    plugin("")
    with pytest.raises(DelegateError, match=r"no Edge TPU 'usb:1' can be opened.*plug in"):
        edgetpu.EdgeTpuSession(compiled, threads=1, unit="usb:1")


def test_the_chosen_unit_reaches_the_library(
    compiled: Path, plugin: Callable[[str], None], tmp_path: Path
) -> None:
    mark = tmp_path / "asked"
    touch = f'if (system("touch {mark}")) return NULL;'
    plugin(f"if (count == 1 && values[0][0] == 'p') {{ {touch} }}")
    with pytest.raises(DelegateError):
        edgetpu.EdgeTpuSession(compiled, threads=1, unit="pci:0")
    assert mark.exists()


def test_a_crash_is_told(
    compiled: Path, plugin: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plugin("abort();")
    monkeypatch.undo()
    # The real way: the system's own name, found in a folder of the loader's.
    library = tmp_path / "libedgetpu.so.1"
    (tmp_path / LIBRARY).rename(library)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(DelegateError, match=r"killed by SIGABRT.*old builds"):
        open_session(compiled, device="edgetpu")


@pytest.mark.parametrize("text", ["toaster", "usb:", "usb:x", "cpu"])
def test_other_units_are_refused(
    compiled: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(edgetpu.UNIT_VARIABLE, text)
    with pytest.raises(InvalidConfigError, match="usb:0"):
        open_session(compiled, device="edgetpu")


def test_a_session_runs_and_tells_its_placement(
    compiled: Path, tiny_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but the device: the plain interpreter stands in for the one with the delegate."""

    def open_plain(_path: Path, unit: str, threads: int) -> object:
        runtime, _ = litert.find_interpreter()
        interpreter = runtime.Interpreter(model_path=str(tiny_tflite), num_threads=threads)
        interpreter.allocate_tensors()
        assert unit == ":1"
        return interpreter

    monkeypatch.setenv(edgetpu.UNIT_VARIABLE, ":1")
    monkeypatch.setattr(edgetpu, "run_isolated", lambda *_args, **_options: None)
    monkeypatch.setattr(edgetpu, "_open_on_edgetpu", open_plain)
    session = open_session(compiled, device="edgetpu", threads=1)
    assert isinstance(session, Session)
    spec = session.inputs[0]
    (output,) = session.run({spec.name: np.zeros(spec.shape, spec.dtype)}).values()
    assert np.isfinite(output).all()
    placement = session.placement()
    assert (placement.device, placement.delegated_ops, placement.partitions) == ("edgetpu", 1, 1)
    assert placement.total_ops == len(placement.partition_of)
    assert placement.partition_of[-1] == 0
    session.close()
