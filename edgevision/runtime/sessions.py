"""From a file and a device to a session."""

from __future__ import annotations

from pathlib import Path

from edgevision.errors import DelegateError, InvalidModelError
from edgevision.graph.reader import find_format
from edgevision.runtime.session import Session
from edgevision.specs import Device, ModelFormat, parse_choice
from edgevision.threads import resolve_threads


def open_session(
    path: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    gpu_float32: bool = False,
) -> Session:
    """Load a ``.tflite`` or ``.onnx`` file for running.

    A device that is missing is an error; the CPU never takes its place in silence.

    Args:
        path: The model file.
        device: ``cpu``, ``gpu`` or ``edgetpu``.
        threads: CPU threads; by default the usable physical cores, at most 4.
        gpu_float32: Whether the GPU computes in float32 where it would take float16.

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
    if chosen is Device.GPU:
        _need_tflite(path, model_format, chosen)
        from edgevision.runtime.gpu import GpuSession

        return GpuSession(path, threads=threads, float32=gpu_float32)
    if chosen is Device.EDGETPU:
        _need_tflite(path, model_format, chosen)
        from edgevision.runtime.edgetpu import EdgeTpuSession

        return EdgeTpuSession(path, threads=threads)
    if model_format is ModelFormat.ONNX:
        from edgevision.runtime.onnxruntime import OnnxRuntimeSession

        return OnnxRuntimeSession(path, threads=threads)
    from edgevision.runtime.litert import LiteRtSession

    return LiteRtSession(path, threads=threads)


def _need_tflite(path: str | Path, model_format: ModelFormat, device: Device) -> None:
    if model_format is not ModelFormat.TFLITE:
        name = "GPU" if device is Device.GPU else "Edge TPU"
        raise DelegateError(
            f"the {name} runs .tflite files only, not {path}",
            device=device,
            remedy="convert it with `edgevision convert`",
        )


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
