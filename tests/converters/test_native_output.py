from __future__ import annotations

import logging
import os
import warnings

import pytest

from edgevision.converters.native_output import capture_output


def test_native_and_python_lines_are_kept_off_the_streams(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with capture_output() as captured:
        os.write(1, b"native out\n")
        os.write(2, b"native err\n")
        warnings.warn("python warning", stacklevel=1)

    assert capfd.readouterr() == ("", "")
    assert captured.lines[:2] == ["native out", "native err"]
    assert "native err" in captured.text


def test_the_streams_come_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with capture_output():
            os.write(2, b"lost\n")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    os.write(2, b"seen\n")

    assert capfd.readouterr().err == "seen\n"


def test_logger_levels_are_restored() -> None:
    logger = logging.getLogger("tf2onnx")
    before = logger.level

    with capture_output(), capture_output():
        assert logger.level == logging.CRITICAL

    assert logger.level == before
