"""TensorFlow Lite files on the GPU, through LiteRT's ``CompiledModel`` (WebGPU on Vulkan).

Operations that the GPU refuses, the suppression of boxes in a detector for one, run on the CPU; the
placement says how many. A model of which the GPU takes nothing is an error.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import DelegateError, UnsupportedOpError, summarize
from edgevision.graph.params import find_unpacking
from edgevision.graph.tflite import read_tflite
from edgevision.runtime.gpu_log import (
    FLOAT16,
    FLOAT32,
    GpuReport,
    explain_failure,
    read_report,
)
from edgevision.runtime.inputs import check_inputs
from edgevision.runtime.isolate import IsolatedCallError, is_isolated, run_isolated
from edgevision.runtime.litert import MAIN_SIGNATURE, describe_tensors, open_bare_interpreter
from edgevision.runtime.session import Adapter, Placement, RunTime
from edgevision.specs import Device, TensorSpec
from edgevision.streams import NativeText, mute_exit, read_native_output
from edgevision.threads import resolve_threads

Array = np.ndarray[Any, Any]
_Specs = Mapping[int, TensorSpec]  # by tensor index, in the file's order

_FAILURES = (RuntimeError, ValueError, TypeError)
# What LiteRT's buffers can hold.
_DTYPES = frozenset(("float32", "float16", "int32", "int8", "uint8", "bool"))
_PROBE_SECONDS = 300.0
_EPSILON = 2.0**-12  # beside 1, float32 holds it and float16 does not


class GpuSession:
    """A ``.tflite`` model on the GPU. Not thread-safe: use one session per thread.

    The model first runs in a process of its own, because a driver may crash on it. Inside such a
    process it is opened at once.

    Args:
        path: The model file.
        threads: CPU threads for the operations that the GPU refuses.
        float32: Whether to compute in float32 where the GPU would take float16.

    Attributes:
        report: What the accelerator said of adapter and operations.

    Raises:
        DelegateError: There is no GPU, or it runs nothing of this model; the message says what is
            missing and how to get it.
        InvalidModelError: The interpreter refuses the file.
        UnsupportedOpError: An input or output has a type that the GPU interface can not carry.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None = None, float32: bool = False
    ) -> None:
        self.path = Path(path)
        self.threads = resolve_threads(threads)
        inputs, outputs, total_ops = _describe_model(self.path)
        if not is_isolated():
            probe_gpu(self.path, threads=self.threads, float32=float32)
        precision = FLOAT32 if float32 else find_adapter().precision
        start = time.perf_counter()
        opened = _open_model(self.path, self.threads, float32, (inputs, outputs))
        self.report: GpuReport = read_report(opened.log, total_ops=total_ops, precision=precision)
        self._open_ms, self._first_ms = (time.perf_counter() - start) * 1e3, 0.0
        self._opened = opened
        self._started = False
        # Destroying the model writes to the terminal, also when Python ends.
        self._close = weakref.finalize(self, _destroy, opened)

    @property
    def backend(self) -> str:
        """Runtime, version and adapter: ``ai-edge-litert 2.3.0 on <adapter>``."""
        from importlib.metadata import version

        return f"ai-edge-litert {version('ai-edge-litert')} on {self.report.adapter.name}"

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What ``run`` takes."""
        return tuple(self._opened.inputs)

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What ``run`` returns; signature names where the file has a signature."""
        return tuple(self._opened.outputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            inputs: An array of the declared shape and dtype for each input name.

        Returns:
            The outputs by name, quantized as the file declares them.

        Raises:
            InvalidConfigError: A name, shape or dtype does not match ``inputs``.
            DelegateError: The GPU fails on this model.
        """
        opened = self._opened
        check_inputs(tuple(opened.inputs), inputs)
        if not self._started:
            return self._start(inputs)
        self._write(inputs)
        self._run()
        return self._read()

    def invoke(self) -> None:
        """Run again on the inputs already set, until the outputs are read (for timing)."""
        self._run()
        self._read()

    def time_run(self) -> RunTime:
        """Run again on the inputs already set, and tell starting the run from waiting for it."""
        start = time.perf_counter()
        self._run()
        submitted = time.perf_counter()
        self._read()
        end = time.perf_counter()
        return RunTime(
            open_ms=self._open_ms,
            first_ms=self._first_ms,
            submit_ms=(submitted - start) * 1e3,
            read_ms=(end - submitted) * 1e3,
        )

    def placement(self) -> Placement:
        """Tell how many operations the GPU took; the rest runs on the CPU."""
        report, adapter = self.report, self.report.adapter
        left = report.total_ops - report.delegated_ops
        refused = ", ".join(dict.fromkeys(op for op, _ in report.refusals))
        notes = (
            f"ran on {adapter.name} ({adapter.kind}, {adapter.api})",
            "that is a program on the CPU, no GPU: its times say nothing"
            if adapter.software
            else "",
            f"{left} of {report.total_ops} operations run on the CPU, because the GPU refuses "
            f"{refused}"
            if left
            else "",
        )
        return Placement(
            device=Device.GPU,
            total_ops=report.total_ops,
            delegated_ops=report.delegated_ops,
            partitions=1,  # LiteRT gives the accelerator one partition
            delegate="WebGPU",
            note="; ".join(filter(None, notes)),
            adapter=adapter,
        )

    def close(self) -> None:
        """Free the model and the GPU's memory; the session can not be used afterwards."""
        self._close()

    def _start(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run for the first time: shaders are compiled now, and failures told in the log only."""
        said = NativeText()
        start = time.perf_counter()
        try:
            with read_native_output() as said:
                self._write(inputs)
                self._run()
                outputs = self._read()
        except (*_FAILURES, DelegateError) as error:
            raise explain_failure(said.text, received=summarize(error)) from error
        self._first_ms = (time.perf_counter() - start) * 1e3
        self._started = True
        return outputs

    def _write(self, inputs: Mapping[str, Array]) -> None:
        for spec, buffer in self._opened.inputs.items():
            buffer.write(inputs[spec.name])

    def _run(self) -> None:
        opened = self._opened
        try:
            opened.model.run_by_index(opened.signature, opened.sources, opened.targets)
        except _FAILURES as error:
            raise DelegateError(
                f"the GPU failed while running {self.path}: {summarize(error)}",
                device=Device.GPU,
                remedy="run it with device=cpu",
            ) from error

    def _read(self) -> dict[str, Array]:
        """Wait for the run to end and copy its outputs."""
        opened = self._opened
        return {
            spec.name: buffer.read(prod(spec.shape), np.dtype(spec.dtype)).reshape(spec.shape)
            for spec, buffer in opened.outputs.items()
        }


def probe_gpu(path: str | Path, *, threads: int | None = None, float32: bool = False) -> GpuReport:
    """Open a model on the GPU and run it once, in a process of its own.

    Args:
        path: A ``.tflite`` file.
        threads: CPU threads for the operations that the GPU refuses.
        float32: Whether to compute in float32 where the GPU would take float16.

    Returns:
        Which adapter ran, in which precision, and what it took and refused.

    Raises:
        DelegateError: There is no GPU, it runs nothing of this model, or its driver crashes.
        InvalidModelError: The interpreter refuses the file.
    """
    try:
        return run_isolated(
            _run_once, str(path), resolve_threads(threads), float32, timeout_s=_PROBE_SECONDS
        )
    except IsolatedCallError as error:
        raise DelegateError(
            f"the GPU's driver did not survive this model ({error.received})",
            device=Device.GPU,
            remedy="update the driver, or run it with device=cpu",
        ) from error


def _run_once(path: str, threads: int, float32: bool) -> GpuReport:
    """Run on zeros; the child's side of ``probe_gpu``."""
    session = GpuSession(path, threads=threads, float32=float32)
    session.run({spec.name: np.zeros(spec.shape, spec.dtype) for spec in session.inputs})
    return session.report


@cache
def find_adapter() -> Adapter:
    """Find the GPU that runs models, and in what it computes when nothing is demanded.

    No interface tells the precision. A model adds 2^-12 to 1 + 2^-12: in float16 nothing is left
    of either.

    Raises:
        DelegateError: There is no GPU.
    """
    ones = TensorSpec(name="x", shape=(1, 4), dtype="float32")
    opened = _open_model(_build_adder(), 1, False, ({0: ones}, {2: replace(ones, name="y")}))
    with read_native_output():
        opened.sources[0].write(np.full(ones.shape, 1 + _EPSILON, np.float32))
        opened.model.run_by_index(opened.signature, opened.sources, opened.targets)
        result = opened.targets[0].read(4, np.float32)
    _destroy(opened)
    exact = bool(np.all(result == np.float32(1 + 2 * _EPSILON)))
    precision = FLOAT32 if exact else FLOAT16
    return read_report(opened.log, total_ops=1, precision=precision).adapter


def _build_adder() -> bytes:
    from edgevision.graph.flatbuffer import ModelEditor, create_empty_model

    editor = ModelEditor(create_empty_model())
    source = editor.add_tensor("x", shape=(1, 4))
    term = editor.add_tensor("term", data=np.full(4, _EPSILON, np.float32))
    target = editor.add_tensor("y", shape=(1, 4))
    editor.add_op("ADD", [source, term], [target], options=("AddOptions", {}))
    editor.set_inputs([source])
    editor.set_outputs([target])
    return editor.to_bytes()


@dataclass(slots=True, kw_only=True)
class _Opened:
    """A compiled model and its buffers.

    ``sources`` and ``targets`` are in the order of the signature, for running; ``inputs`` and
    ``outputs`` in that of the file, each with its buffer.
    """

    model: Any
    signature: int
    sources: list[Any]
    targets: list[Any]
    inputs: dict[TensorSpec, Any]
    outputs: dict[TensorSpec, Any]
    log: str = ""


def _describe_model(path: Path) -> tuple[_Specs, _Specs, int]:
    """Describe inputs and outputs as the CPU's session does, and count the operations."""
    interpreter = open_bare_interpreter(path)
    inputs, outputs = describe_tensors(interpreter)
    specs = (*inputs.values(), *outputs.values())
    odd = next((spec for spec in specs if spec.dtype not in _DTYPES), None)
    if odd is not None:
        raise UnsupportedOpError(
            f"LiteRT's GPU interface carries {', '.join(sorted(_DTYPES))} only",
            received=f"{path}: {odd.name!r} is {odd.dtype}",
            remedy="run it with device=cpu",
        )
    graph = read_tflite(path)
    return inputs, outputs, len(graph.ops) - len(find_unpacking(graph))


def _open_model(
    source: Path | bytes, threads: int, float32: bool, specs: tuple[_Specs, _Specs]
) -> _Opened:
    """Compile a model for the GPU and make its buffers.

    Raises:
        DelegateError: It does not open; the cause is read from the native log.
    """
    library = _import_compiled_model()
    mute_exit()
    options = library.Options(
        # Without the CPU a single refused operation refuses the model. That the GPU takes part is
        # seen in the log.
        hardware_accelerators=library.HardwareAccelerator.GPU | library.HardwareAccelerator.CPU,
        cpu_options=library.CpuOptions(num_threads=threads),
        gpu_options=library.GpuOptions(enforce_f32=float32),
    )
    said = NativeText()
    try:
        with read_native_output() as said:
            model = (
                library.CompiledModel.from_buffer(source, options=options)
                if isinstance(source, bytes)
                else library.CompiledModel.from_file(str(source), options=options)
            )
            opened = _make_buffers(model, *specs)
    except _FAILURES as error:
        raise explain_failure(said.text, received=summarize(error)) from error
    opened.log = said.text
    return opened


def _import_compiled_model() -> Any:
    try:
        from ai_edge_litert import compiled_model
    except ImportError as error:
        raise DelegateError(
            f"the GPU needs ai-edge-litert 2.1 or later ({summarize(error)})",
            device=Device.GPU,
            remedy="pip install 'ai-edge-litert>=2.1'",
        ) from error
    return compiled_model


def _make_buffers(model: Any, inputs: _Specs, outputs: _Specs) -> _Opened:
    signatures = model.get_signature_list()
    key = MAIN_SIGNATURE if MAIN_SIGNATURE in signatures else next(iter(signatures))
    signature = model.get_signature_index(key)
    sources, targets = model.create_input_buffers(signature), model.create_output_buffers(signature)
    details = model.get_input_tensor_details(key), model.get_output_tensor_details(key)
    return _Opened(
        model=model,
        signature=signature,
        sources=sources,
        targets=targets,
        inputs=_pair(inputs, signatures[key]["inputs"], details[0], sources),
        outputs=_pair(outputs, signatures[key]["outputs"], details[1], targets),
    )


def _pair(
    specs: _Specs, names: Sequence[str], details: Mapping[str, Any], buffers: Sequence[Any]
) -> dict[TensorSpec, Any]:
    """Give each tensor of the file its buffer and the shape that it has on the GPU."""
    found = {
        int(details[name]["index"]): (buffer, tuple(map(int, details[name]["shape"])))
        for name, buffer in zip(names, buffers, strict=True)
    }
    missing = next((spec for index, spec in specs.items() if index not in found), None)
    if missing is not None:
        raise UnsupportedOpError(
            "the GPU interface reaches the tensors of the main signature only",
            received=f"{missing.name!r} is not among {', '.join(names)}",
            remedy="convert the model with one signature, and a name of its own for each output",
        )
    return {replace(spec, shape=found[i][1]): found[i][0] for i, spec in specs.items()}


def _destroy(opened: _Opened) -> None:
    """Free buffers and model, without what the library says about it."""
    with read_native_output():
        for buffer in (*opened.sources, *opened.targets):
            buffer.destroy()
        opened.sources, opened.targets = [], []
        opened.inputs, opened.outputs = {}, {}
        if opened.model is not None:
            opened.model.close()
        opened.model = None
