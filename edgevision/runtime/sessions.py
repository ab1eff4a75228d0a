"""From a file and a device to a session."""

from __future__ import annotations

from pathlib import Path

from edgevision.errors import (
    DelegateError,
    InvalidConfigError,
    InvalidModelError,
    MissingFileError,
)
from edgevision.runtime.session import Session
from edgevision.runtime.threads import resolve_threads
from edgevision.specs import Device, ModelFormat

_TFLITE_IDENTIFIER = b"TFL3"
_SUFFIXES = {".tflite": ModelFormat.TFLITE, ".onnx": ModelFormat.ONNX}
_LATER = {
    Device.GPU: "the GPU is not available yet",
    Device.EDGETPU: "the Edge TPU is not available yet",
}


def open_session(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> Session:
    """Load a ``.tflite`` or ``.onnx`` file for running.

    A device that is missing is an error; the CPU never takes its place in silence.

    Args:
        path: The model file.
        device: ``cpu``; ``gpu`` and ``edgetpu`` come with a later version.
        threads: CPU threads; by default the usable physical cores, at most 4.

    Returns:
        A session that one thread may use.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: The file is damaged or of another format.
        InvalidConfigError: The device is unknown or ``threads`` is below 1.
        DelegateError: The device can not be used.
        BackendUnavailableError: The interpreter for this format is not installed.
    """
    chosen, file = parse_device(device), Path(path)
    threads = resolve_threads(threads)
    model_format = detect_format(file)
    if chosen in _LATER:
        raise DelegateError(
            _LATER[chosen], device=chosen, remedy="a later version brings it; use device=cpu"
        )
    if model_format is ModelFormat.ONNX:
        from edgevision.runtime.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(file, threads=threads)
    from edgevision.runtime.litert import LiteRtSession

    return LiteRtSession(file, threads=threads)


def parse_device(device: str) -> Device:
    """Turn a name into a device.

    Raises:
        InvalidConfigError: There is no such device.

    >>> parse_device("cpu").value
    'cpu'
    """
    try:
        return Device(device)
    except ValueError:
        names = ", ".join(Device)
        raise InvalidConfigError(
            "unknown device", received=f"device={device}", remedy=f"use one of {names}"
        ) from None


def detect_format(path: Path) -> ModelFormat:
    """Tell a file that a session can run by its content, then by its suffix.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is a folder, can not be read, or is of a format that can not be run.
    """
    if not path.exists():
        raise MissingFileError("no such model file", received=path)
    if path.is_file() and _read_identifier(path) == _TFLITE_IDENTIFIER:
        return ModelFormat.TFLITE
    if path.is_dir() or path.suffix.lower() not in _SUFFIXES:
        raise InvalidModelError(
            "only .tflite and .onnx files can be run",
            received=path,
            remedy="convert the model first: edgevision convert",
        )
    return _SUFFIXES[path.suffix.lower()]


def _read_identifier(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)[4:]
    except OSError as error:
        raise InvalidModelError(
            "the model file can not be read", received=f"{path}: {error.strerror}"
        ) from error
