from __future__ import annotations

import inspect

import pytest

from edgevision import errors

TREE = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls is not errors.EdgeVisionError and issubclass(cls, errors.EdgeVisionError)
]


@pytest.mark.parametrize("cls", TREE, ids=lambda cls: cls.__name__)
def test_every_error_is_a_builtin_too(cls: type[Exception]) -> None:
    builtin = [c for c in cls.__mro__ if c.__module__ == "builtins" and c is not Exception]
    assert builtin[0] not in (BaseException, object)


def test_tree_stays_small() -> None:
    assert 1 <= len(TREE) <= 10


def test_message_is_rule_received_remedy() -> None:
    error = errors.InvalidConfigError("too big", received="size=9", remedy="take 8")
    assert str(error) == "too big (size=9): take 8"
    assert (error.what, error.received, error.remedy) == ("too big", "size=9", "take 8")


def test_missing_backend_names_the_extra() -> None:
    error = errors.BackendUnavailableError("needs onnx", extra="onnx")
    assert error.extra == "onnx"
    assert "edgevision[onnx]" in str(error)


def test_delegate_error_names_the_device() -> None:
    error = errors.DelegateError("no such device", device="edgetpu", remedy="plug it in")
    assert error.device == "edgetpu"
    assert str(error) == "no such device (device=edgetpu): plug it in"
