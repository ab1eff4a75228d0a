from __future__ import annotations

import ctypes
import sys

import pytest
from fake_edgetpu import build_library

from edgevision.errors import DelegateError, InvalidConfigError
from edgevision.runtime import edgetpu_library, isolate
from edgevision.runtime.edgetpu_library import (
    SELECTION,
    explain_loading,
    find_library_name,
    inspect_library,
    list_devices,
    read_selection,
)


@pytest.mark.parametrize("value", ["", "usb", "usb:0", "pci", "pci:12", ":1", " usb:1 "])
def test_choices_are_read(monkeypatch, value):
    monkeypatch.setenv(SELECTION, value)
    assert read_selection() == value.strip()


@pytest.mark.parametrize("value", ["USB", "usb:", "usb:-1", "usb:1:2", "0", ":", "pcie", "usb:x"])
def test_other_choices_are_refused(monkeypatch, value):
    monkeypatch.setenv(SELECTION, value)
    with pytest.raises(InvalidConfigError, match=f"{SELECTION}={value}"):
        read_selection()


@pytest.mark.parametrize(
    ("system", "name"),
    [("Linux", "libedgetpu.so.1"), ("Darwin", "libedgetpu.1.dylib"), ("Windows", "edgetpu.dll")],
)
def test_the_library_has_a_name_on_each_system(monkeypatch, system, name):
    monkeypatch.setattr(edgetpu_library.platform, "system", lambda: system)
    assert find_library_name() == name


def test_other_systems_have_none(monkeypatch):
    monkeypatch.setattr(edgetpu_library.platform, "system", lambda: "Plan9")
    with pytest.raises(DelegateError, match="no libedgetpu for Plan9"):
        find_library_name()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("lib.so: cannot open shared object file: No such file or directory", "not installed"),
        ("dlopen(lib.so, 0x6): tried: 'lib.so' (no such file), not found", "not installed"),
        ("libusb-1.0.so.0: cannot open shared object file: No such file", "libusb-1.0-0"),
        ("lib.so: wrong ELF class: ELFCLASS32", "for this processor"),
    ],
)
def test_what_the_loader_says_is_told_with_a_remedy(said, told):
    error = explain_loading("lib.so", OSError(said))
    assert told in str(error)
    assert error.device == "edgetpu"


def test_devices_are_named_as_the_variable_takes_them(tmp_path, monkeypatch):
    library = ctypes.CDLL(str(build_library(tmp_path)))
    assert list_devices(library) == ("usb:0", "usb:1", "pci:0")
    assert edgetpu_library._read_version(library) == "RuntimeVersion(14)"
    monkeypatch.setenv("FAKE_EDGETPU", "none")
    assert list_devices(library) == ()


def test_a_library_that_does_not_tell_is_no_library_without_devices():
    libc = ctypes.CDLL(None) if sys.platform != "win32" else ctypes.CDLL("msvcrt")
    assert list_devices(libc) is None
    assert edgetpu_library._read_version(libc) == ""


def test_the_library_is_asked_in_a_process_of_its_own(tmp_path, monkeypatch):
    build_library(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = inspect_library()
    assert (found.name, found.version) == ("libedgetpu.so.1", "RuntimeVersion(14)")
    assert len(found.devices) == 3


def test_a_missing_library_is_told(monkeypatch):
    monkeypatch.setattr(edgetpu_library, "find_library_name", lambda: "libnowhere.so.1")
    found = edgetpu_library._inspect()
    assert found.name == ""
    assert "libnowhere.so.1 is not installed" in found.trouble
    assert "libedgetpu1-std" in found.remedy


def test_a_library_that_crashes_is_told(monkeypatch):
    def crash(*_args, **_settings):
        raise isolate.create_failure(("m", "f", ()), "it was killed by SIGSEGV", b"")

    monkeypatch.setattr(edgetpu_library, "run_isolated", crash)
    assert "SIGSEGV" in inspect_library().trouble
