"""From a file and a device to a session."""

from __future__ import annotations

from pathlib import Path

from edgevision.errors import DelegateError, InvalidModelError
from edgevision.graph.reader import find_format
from edgevision.runtime.session import Session
from edgevision.specs import Device, ModelFormat, parse_choice
from edgevision.threads import resolve_threads

_LATER = {
    Device.GPU: "the GPU is not available yet",
}


def open_session(path: str | Path, *, device: str = "cpu", threads: int | None = None) -> Session:
    """Load a ``.tflite`` or ``.onnx`` file for running.

    A device that is missing is an error; the CPU never takes its place in silence.

    Args:
        path: The model file.
        device: ``cpu``, or ``edgetpu`` for a compiled ``.tflite`` (the environment variable
            ``EDGEVISION_EDGETPU`` chooses among several); ``gpu`` comes with a later version.
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
    chosen = parse_choice(Device, device, "device")
    threads = resolve_threads(threads)
    model_format = find_runnable_format(path)
    if chosen in _LATER:
        raise DelegateError(
            _LATER[chosen], device=chosen, remedy="a later version brings it; use device=cpu"
        )
    if chosen is Device.EDGETPU:
        return _open_edgetpu(path, model_format, threads)
    if model_format is ModelFormat.ONNX:
        from edgevision.runtime.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(path, threads=threads)
    from edgevision.runtime.litert import LiteRtSession

    return LiteRtSession(path, threads=threads)


def _open_edgetpu(path: str | Path, model_format: ModelFormat, threads: int) -> Session:
    if model_format is not ModelFormat.TFLITE:
        raise DelegateError(
            "the Edge TPU runs compiled .tflite files only",
            device=Device.EDGETPU,
            remedy="convert, quantize with --scheme edgetpu, then run edgetpu_compiler",
        )
    from edgevision.runtime.edgetpu import EdgeTpuSession

    return EdgeTpuSession(path, threads=threads)


def find_runnable_format(path: str | Path) -> ModelFormat:
    """Tell the format of a file that a session can run.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is of no known format, or of one that only training can use.
    """
    found = find_format(path)
    if found not in (ModelFormat.TFLITE, ModelFormat.ONNX):
        raise InvalidModelError(
            "only .tflite and .onnx files can be run",
            received=path,
            remedy="convert the model first: edgevision convert",
        )
    return found
