from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from edgevision.runtime import doctor
from edgevision.runtime.doctor import Status, inspect_parts
from edgevision.runtime.edgetpu_library import EdgeTpuLibrary
from edgevision.runtime.gpu_adapter import GpuParts
from edgevision.runtime.session import Adapter


@pytest.fixture(autouse=True)
def gpu_parts(monkeypatch):
    """What a child process would find; looking for it takes a second."""
    parts = GpuParts(loader="", trouble="there is no Vulkan loader", remedy="install it")
    monkeypatch.setattr(doctor, "find_gpu_parts", lambda: parts)


def find(name: str) -> doctor.Part:
    return next(part for part in inspect_parts() if part.name.startswith(name))


def test_every_part_is_plain_and_complete():
    for part in inspect_parts():
        document = part.to_dict()
        assert list(document) == ["name", "status", "version", "remedy"]
        assert document["status"] in {"ok", "missing", "unsupported"}
        assert document["version"] or document["remedy"], document


def test_names_are_unique():
    names = [part.name for part in inspect_parts()]
    assert len(names) == len(set(names))


def test_missing_package_names_its_extra(monkeypatch):
    def refuse(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", refuse)
    assert find("onnxruntime").status is Status.MISSING
    assert find("onnxruntime").remedy == "pip install 'edgevision[onnx]'"
    assert find("numpy").remedy == "pip install numpy"


def test_old_interpreter_with_new_numpy_is_unsupported(monkeypatch):
    versions = {"tflite-runtime": "2.14.0", "numpy": "2.4.0"}
    monkeypatch.setattr(doctor, "find_version", lambda *names: versions.get(names[0], ""))
    part = find("tflite-runtime")
    assert part.status is Status.UNSUPPORTED
    assert "numpy<2" in part.remedy


def test_coral_on_usb_is_found(monkeypatch, tmp_path):
    device = tmp_path / "1-2"
    device.mkdir()
    (device / "idVendor").write_text("18d1\n")
    (device / "idProduct").write_text("9302\n")
    real = doctor.Path
    monkeypatch.setattr(
        doctor, "Path", lambda place: tmp_path if str(place).startswith("/sys") else real(place)
    )
    assert doctor.find_edgetpu_devices() == ["usb 1-2"]


def test_devices_are_those_that_the_library_opens(monkeypatch):
    library = EdgeTpuLibrary(name="lib.so", version="14", devices=("usb:0", "usb:1"))
    monkeypatch.setattr(doctor, "inspect_library", lambda: library)
    part = find("edge tpu devices")
    assert (part.status, part.version) == (Status.OK, "usb:0, usb:1")
    assert "EDGEVISION_EDGETPU" in part.remedy
    assert find("edge tpu library").version == "lib.so 14"


@pytest.mark.parametrize(("name", "told"), [("lib.so", "udev"), ("", "library above")])
def test_a_device_that_only_the_system_sees_can_not_be_used(monkeypatch, name, told):
    library = EdgeTpuLibrary(name=name, trouble="it is missing", remedy="install it")
    monkeypatch.setattr(doctor, "inspect_library", lambda: library)
    monkeypatch.setattr(doctor, "find_edgetpu_devices", lambda: ["usb 1-2"])
    part = find("edge tpu devices")
    assert (part.status, part.version) == (Status.UNSUPPORTED, "usb 1-2")
    assert told in part.remedy
    assert name or find("edge tpu library").remedy == "it is missing: install it"


def test_nothing_heavy_is_imported():
    heavy = {"tensorflow", "onnx", "ai_edge_litert", "numpy"}
    code = (
        "import sys; from edgevision.runtime.doctor import inspect_parts; inspect_parts();"
        f"print({heavy}.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_no_gpu_says_what_is_missing():
    part = next(part for part in inspect_parts() if part.name == "gpu")
    assert part.status is Status.MISSING
    assert part.remedy == "there is no Vulkan loader: install it"


@pytest.mark.parametrize("software", [True, False])
def test_gpu_is_named_and_software_is_no_gpu(monkeypatch, software):
    adapter = Adapter(
        name="Chip", kind="a kind", api="Vulkan", precision="float16", software=software
    )
    found = GpuParts(loader="libvulkan.so.1", adapter=adapter)
    monkeypatch.setattr(doctor, "find_gpu_parts", lambda: found)
    part = next(part for part in inspect_parts() if part.name == "gpu")
    assert (part.status, part.version) == (
        Status.OK,
        "Chip (a kind, Vulkan), float16 by default",
    )
    assert bool(part.remedy) is software
    assert find("vulkan").version == "libvulkan.so.1"
