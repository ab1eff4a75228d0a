from __future__ import annotations

import pytest

from edgevision.errors import (
    DelegateError,
    InvalidConfigError,
    InvalidModelError,
    MissingFileError,
)
from edgevision.runtime.session import Session
from edgevision.runtime.sessions import open_session


def test_both_formats_are_sessions(float_model, onnx_model):
    for path in (float_model, onnx_model):
        assert isinstance(open_session(path), Session)


def test_tflite_is_known_by_content(float_model, tmp_path):
    nameless = tmp_path / "model"
    nameless.write_bytes(float_model.read_bytes())
    assert open_session(nameless).inputs[0].shape == (1, 8, 8, 3)


def test_unknown_device_lists_the_known(float_model):
    with pytest.raises(InvalidConfigError, match=r"device=toaster.*cpu, gpu or edgetpu"):
        open_session(float_model, device="toaster")


@pytest.mark.parametrize(("device", "reason"), [("gpu", "not available"), ("edgetpu", "compiled")])
def test_missing_device_is_never_replaced(float_model, device, reason):
    with pytest.raises(DelegateError, match=reason) as caught:
        open_session(float_model, device=device)
    assert caught.value.device == device


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError):
        open_session(tmp_path / "none.tflite")


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.pth"])
def test_other_formats_are_sent_to_convert(tmp_path, name):
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(InvalidModelError):
        open_session(tmp_path / name)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_are_checked(float_model, threads):
    with pytest.raises(InvalidConfigError, match="threads"):
        open_session(float_model, threads=threads)
