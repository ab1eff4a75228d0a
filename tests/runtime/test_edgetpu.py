from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_edgetpu import build_compiled, build_library

from edgevision.errors import DelegateError, InvalidConfigError
from edgevision.runtime import edgetpu, edgetpu_library, isolate, litert
from edgevision.runtime.edgetpu import EdgeTpuSession
from edgevision.runtime.edgetpu_library import SELECTION
from edgevision.runtime.session import Session
from edgevision.runtime.sessions import open_session

PIXELS = {"image": np.ones((1, 8, 8, 3), np.uint8)}


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A libedgetpu with three devices, built from C."""
    return build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "model_edgetpu.tflite"
    path.write_bytes(build_compiled())
    return path


@pytest.fixture
def isolated(monkeypatch, library):
    """As in a child process: the library is opened here, without a child of its own."""
    monkeypatch.setenv("EDGEVISION_ISOLATED", "1")
    monkeypatch.delenv(SELECTION, raising=False)
    for module in (edgetpu, edgetpu_library):
        monkeypatch.setattr(module, "find_library_name", lambda: str(library))


def refuse(path: Path) -> str:
    with pytest.raises(DelegateError) as caught:
        open_session(path, device="edgetpu")
    assert caught.value.device == "edgetpu"
    assert caught.value.remedy
    return str(caught.value)


def test_it_runs_and_tells_what_the_device_takes(isolated, compiled):
    session = open_session(compiled, device="edgetpu", threads=1)
    assert isinstance(session, Session)
    scores = session.run(PIXELS)["scores"]
    np.testing.assert_allclose(scores, [[0, 10 / 64, 20 / 64, 30 / 64]])
    placement = session.placement()
    assert (placement.device, placement.delegate) == ("edgetpu", "libedgetpu")
    assert (placement.total_ops, placement.delegated_ops, placement.partitions) == (2, 1, 1)
    assert placement.partition_of == (0, -1)
    assert "1 of 2 operations" in placement.note
    assert session.backend.endswith("and libedgetpu")
    session.close()


def test_the_chosen_device_is_opened(isolated, compiled, monkeypatch):
    monkeypatch.setenv(SELECTION, "usb:1")
    assert "usb:1" in open_session(compiled, device="edgetpu").placement().note
    monkeypatch.setenv(SELECTION, "usb:2")
    assert "usb:0, usb:1, pci:0" in refuse(compiled)
    monkeypatch.setenv(SELECTION, "pci")  # there, but it does not open
    assert "does not open" in refuse(compiled)
    monkeypatch.setenv(SELECTION, "first")
    with pytest.raises(InvalidConfigError, match="first"):
        open_session(compiled, device="edgetpu")


@pytest.mark.parametrize(
    ("trouble", "told"),
    [("none", "there is no Edge TPU"), ("refuse", "libedgetpu gives no reason")],
)
def test_devices_that_are_not_there_or_taken(isolated, compiled, monkeypatch, trouble, told):
    monkeypatch.setenv("FAKE_EDGETPU", trouble)
    assert told in refuse(compiled)


def test_a_device_that_is_unplugged_is_no_damaged_model(isolated, compiled, monkeypatch):
    session = open_session(compiled, device="edgetpu")
    session.run(PIXELS)
    monkeypatch.setenv("FAKE_EDGETPU", "unplug")
    with pytest.raises(DelegateError, match="failed while running"):
        session.invoke()


def test_files_that_are_not_compiled_are_sent_to_the_compiler(int8_model, onnx_model):
    assert "edgetpu_compiler" in refuse(int8_model)
    assert "edgevision convert" in refuse(onnx_model)


def test_another_library_of_that_name_is_told(isolated, compiled, monkeypatch):
    def load(_name, _options):
        raise AttributeError("undefined symbol: tflite_plugin_create_delegate")

    monkeypatch.setattr(litert.find_interpreter()[0], "load_delegate", load)
    assert "is no libedgetpu" in refuse(compiled)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Package requires runtime version (14), newer than this", "min_runtime_version"),
        ("Unsupported data type in custom op handler: 0", "built for this interpreter"),
        ("Encountered unresolved custom op: edgetpu-custom-op.", "does not take"),
        ("Encountered unresolved custom op: Odd.", "TFLite's own operations"),
        ("Node number 0 failed to prepare", "does not open the model"),
    ],
)
def test_known_failures_have_a_remedy(isolated, compiled, monkeypatch, said, told):
    class Refusing:
        def __init__(self, **_settings):
            raise RuntimeError(said)

    monkeypatch.setattr(litert.find_interpreter()[0], "Interpreter", Refusing)
    assert told in refuse(compiled)


def test_a_library_that_crashes_ends_its_child_only(compiled, monkeypatch):
    def crash(*_args, **_settings):
        raise isolate.create_failure(("m", "f", ()), "it was killed by SIGSEGV", b"")

    monkeypatch.setattr(edgetpu, "run_isolated", crash)
    with pytest.raises(DelegateError, match="SIGSEGV"):
        EdgeTpuSession(compiled)


def predict(folder: Path, library: Path, compiled: Path, **more: str) -> tuple[int, str]:
    """Run the command with the library where the system looks for it."""
    from PIL import Image

    Image.new("RGB", (8, 8)).save(folder / "photo.png")
    paths = {"LD_LIBRARY_PATH": str(library.parent), "PYTHONPATH": os.pathsep.join(sys.path)}
    photo = str(folder / "photo.png")
    command = ["predict", str(compiled), photo, "--device", "edgetpu", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "edgevision", *command],
        env={**os.environ, **paths, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs LD_LIBRARY_PATH")
def test_predict_runs_and_survives_a_crash(library, compiled, tmp_path):
    code, text = predict(tmp_path, library, compiled)
    assert code == 0, text
    assert '"score": 0.46875' in text
    code, text = predict(tmp_path, library, compiled, FAKE_EDGETPU="crash")
    assert code == 2
    assert "did not survive this model (it was killed by SIGABRT)" in text


def test_real_compiled_files_open_beside_other_operations(isolated, real_data, tmp_path):
    name = "deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite"
    shutil.copyfile(real_data / "edgetpu_pairs" / name, tmp_path / name)
    session = open_session(tmp_path / name, device="edgetpu")
    session.run({s.name: np.zeros(s.shape, s.dtype) for s in session.inputs})
    placement = session.placement()
    assert (placement.delegated_ops, placement.total_ops) == (1, 9)
