from __future__ import annotations

import ctypes
import math
import os
import sys
import time

import pytest

from edgevision.errors import DelegateError, InvalidConfigError, InvalidModelError
from edgevision.runtime.isolate import (
    IsolatedCallError,
    describe_exit,
    rebuild_error,
    run_isolated,
)
from edgevision.specs import Device, parse_choice


def test_value_comes_back():
    assert run_isolated(math.hypot, 3, 4) == 3 + 2


def test_segmentation_fault_is_a_reason():
    with pytest.raises(IsolatedCallError, match="SIGSEGV"):
        run_isolated(ctypes.string_at, 0)


def test_abort_is_a_reason_and_a_kind_of_bad_model():
    with pytest.raises(InvalidModelError, match="SIGABRT"):
        run_isolated(os.abort)


def test_hanging_child_is_killed():
    with pytest.raises(IsolatedCallError, match=r"within 0\.5 s"):
        run_isolated(time.sleep, 30, timeout_s=0.5)


def test_foreign_exception_is_named():
    with pytest.raises(IsolatedCallError, match=r"ValueError: "):
        run_isolated(math.sqrt, -1)


def test_own_errors_arrive_whole():
    with pytest.raises(InvalidConfigError, match="no such device") as caught:
        run_isolated(parse_choice, Device, "toaster", "device")
    assert caught.value.received == "device=toaster"


def test_errors_with_more_arguments_are_rebuilt():
    error = DelegateError("no library", device="gpu", remedy="install it")
    rebuilt = rebuild_error(type(error), error.args, vars(error))
    assert (str(rebuilt), rebuilt.device) == (str(error), "gpu")


def test_native_output_does_not_disturb_the_answer():
    assert run_isolated(os.write, 1, b"native noise") == len(b"native noise")


def test_exit_codes_are_described():
    assert describe_exit(-9) == "it was killed by SIGKILL"
    assert describe_exit(-250) == "it was killed by signal 250"


def test_an_end_without_an_answer_is_told():
    with pytest.raises(IsolatedCallError, match="without an answer"):
        run_isolated(os._exit, 0)


def test_files_in_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [p for p in sys.path if p])
    assert run_isolated(math.sqrt, 4.0) == 2.0
