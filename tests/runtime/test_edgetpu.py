from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import build_classifier

from edgevision.errors import DelegateError, InvalidConfigError
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.tflite import read_tflite
from edgevision.runtime import edgetpu, edgetpu_library
from edgevision.runtime.edgetpu import (
    COMPILED_OP,
    EdgeTpuSession,
    load_library,
)
from edgevision.runtime.edgetpu_library import SELECTION, count_devices, read_selection
from edgevision.runtime.isolate import IsolatedCallError
from edgevision.runtime.sessions import open_session

STUB = """
#include <stddef.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t n, void (*report)(char *)) {
  return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) {}
void *edgetpu_list_devices(size_t *count) { *count = COUNT; return NULL; }
void edgetpu_free_devices(void *devices) {}
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A file that looks as if the compiler had made it."""
    editor = ModelEditor(build_classifier())
    graph = editor.model.subgraphs[0]
    count = len(graph.operators)
    editor.add_op(COMPILED_OP, list(graph.inputs), list(graph.outputs), custom_options=b"x")
    editor.remove_ops(range(count))
    path = tmp_path / "net_edgetpu.tflite"
    path.write_bytes(editor.to_bytes())
    assert [op.name for op in read_tflite(path).ops] == [COMPILED_OP]
    return path


@pytest.fixture
def no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open in this process at once, as a child process does."""
    monkeypatch.setattr(edgetpu, "is_isolated", lambda: True)


def build_stub(folder: Path, devices: int) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler builds the stub of libedgetpu")
    source, library = folder / "stub.c", folder / f"libstub{devices}.so"
    source.write_text(STUB.replace("COUNT", str(devices)))
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
    return str(library)


def use_library(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(
        edgetpu_library, "LIBRARIES", dict.fromkeys(("Linux", "Darwin", "Windows"), name)
    )


def fail_with(error: Exception) -> Any:
    """A runtime module whose load_delegate fails."""

    def load_delegate(_name: str, _options: dict[str, str]) -> None:
        raise error

    return SimpleNamespace(load_delegate=load_delegate)


def test_other_files_must_be_compiled_first(tiny_tflite: Path) -> None:
    with pytest.raises(DelegateError, match=r"not compiled.*edgetpu_compiler"):
        open_session(tiny_tflite, device="edgetpu")


def test_missing_library_is_told(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_library(monkeypatch, "libnowhere.so.9")
    monkeypatch.setattr(edgetpu, "is_isolated", lambda: True)
    with pytest.raises(DelegateError, match=r"libnowhere.*install libedgetpu"):
        open_session(compiled, device="edgetpu")


def test_first_try_is_in_a_child_process(compiled: Path) -> None:
    """Whatever is installed here, the answer of the child arrives as one error."""
    with pytest.raises(DelegateError, match="device=edgetpu"):
        EdgeTpuSession(compiled)


def test_crash_of_the_child_is_a_reason(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise IsolatedCallError("run_once did not survive", received="it was killed by SIGSEGV")

    monkeypatch.setattr(edgetpu, "run_isolated", crash)
    with pytest.raises(DelegateError, match=r"do not fit together.*SIGSEGV"):
        EdgeTpuSession(compiled)


@pytest.mark.parametrize(("devices", "text"), [(0, "no Edge TPU is attached"), (2, "none of 2")])
def test_library_without_a_usable_device(
    devices: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = build_stub(tmp_path, devices)
    assert count_devices(library) == devices
    use_library(monkeypatch, library)
    with pytest.raises(DelegateError, match=text):
        load_library(fail_with(ValueError("")), "")


@pytest.mark.usefixtures("no_trial")
def test_stub_that_creates_no_delegate(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_library(monkeypatch, build_stub(tmp_path, 0))
    with pytest.raises(DelegateError, match="no Edge TPU is attached"):
        EdgeTpuSession(compiled)


def test_library_that_tells_nothing_about_devices() -> None:
    assert count_devices("libnowhere.so.9") is None


@pytest.mark.usefixtures("no_trial")
def test_session_on_a_device(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an interpreter in the device's place, placement is what the file holds."""
    asked: list[dict[str, str]] = []

    def open_other(runtime: Any, path: Path, threads: int) -> Any:
        plain = path.with_name("plain.tflite")
        plain.write_bytes(build_classifier())
        return runtime.Interpreter(str(plain), num_threads=threads)

    def load_delegate(_name: str, options: dict[str, str]) -> object:
        asked.append(options)
        return object()

    runtime, name = edgetpu.LiteRtSession.__init__.__globals__["find_interpreter"]()
    fake = SimpleNamespace(
        load_delegate=load_delegate,
        Interpreter=lambda model_path, num_threads, experimental_delegates: open_other(
            runtime, Path(model_path), num_threads
        ),
    )
    monkeypatch.setattr("edgevision.runtime.litert.find_interpreter", lambda: (fake, name))
    monkeypatch.setenv(SELECTION, "usb:1")
    monkeypatch.setattr(edgetpu.ctypes, "CDLL", lambda _name: None)
    session = EdgeTpuSession(compiled, threads=1)
    placement = session.placement()
    assert asked == [{"device": "usb:1"}]
    assert (placement.device, placement.delegated_ops, placement.total_ops) == ("edgetpu", 1, 1)
    assert placement.partition_of == (0,)
    session.close()


@pytest.mark.parametrize("name", ["", "usb", "usb:0", "pci", "pci:12", ":1"])
def test_names_of_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SELECTION, name)
    assert read_selection() == name


@pytest.mark.parametrize("name", ["coral", "usb:", "usb1", "pci:x", "usb:0 "])
def test_other_names_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SELECTION, name)
    with pytest.raises(InvalidConfigError, match="usb:1"):
        read_selection()
