"""ONNX files on the CPU, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import InvalidModelError, summarize
from edgevision.runtime.inputs import check_inputs
from edgevision.runtime.session import Placement
from edgevision.specs import Device, TensorSpec
from edgevision.threads import resolve_threads

Array = np.ndarray[Any, Any]

_ERRORS_ONLY = 3  # OrtLoggingLevel
_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "bool": "bool",
    "string": "string",
}


class OnnxRuntimeSession:
    """An ``.onnx`` model on the CPU.

    A dynamic batch is declared as 1; other dynamic dimensions are -1 and take any length.
    Not thread-safe: use one session per thread.

    Args:
        path: The model file.
        threads: Threads of the runtime; by default the usable physical cores, at most 4.

    Raises:
        InvalidModelError: ONNX Runtime refuses the file.
        BackendUnavailableError: ONNX Runtime is not installed.
        InvalidConfigError: ``threads`` is below 1.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.path = Path(path)
        self.threads = resolve_threads(threads)
        self._runtime = import_backend("onnxruntime")
        self._session = _open_session(self._runtime, self.path, self.threads)
        self._inputs = tuple(_describe(node) for node in self._session.get_inputs())
        self._outputs = tuple(_describe(node) for node in self._session.get_outputs())
        self._output_names = [spec.name for spec in self._outputs]
        self._feeds: dict[str, Array] = {}

    @property
    def backend(self) -> str:
        """Runtime and version, for example ``onnxruntime 1.20.0``."""
        return f"onnxruntime {self._runtime.__version__}"

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What ``run`` takes."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What ``run`` returns."""
        return self._outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            inputs: An array of the declared shape and dtype for each input name.

        Returns:
            The outputs by name.

        Raises:
            InvalidConfigError: A name, shape or dtype does not match ``inputs``.
            InvalidModelError: The runtime fails on this model.
        """
        check_inputs(self._inputs, inputs)
        self._feeds = dict(inputs)
        return dict(zip(self._output_names, self._run(), strict=True))

    def invoke(self) -> None:
        """Run again on the last inputs, zeros before the first (for timing)."""
        if not self._feeds:
            self._feeds = {spec.name: _make_zeros(spec) for spec in self._inputs}
        self._run()

    def placement(self) -> Placement:
        """Count the nodes; ONNX Runtime runs all of them itself and calls no delegate."""
        from edgevision.graph.onnx import read_onnx

        return Placement(
            device=Device.CPU,
            total_ops=len(read_onnx(self.path).ops),
            delegated_ops=0,
            partitions=0,
            note="ONNX Runtime runs every node with its own kernels; there is no delegate",
        )

    def close(self) -> None:
        """Free the session; it can not be used afterwards."""
        self._session = None

    def _run(self) -> list[Array]:
        try:
            return list(self._session.run(self._output_names, self._feeds))
        except list_failures() as error:
            raise InvalidModelError(
                "ONNX Runtime failed while running the model",
                received=f"{self.path}: {summarize(error)}",
            ) from error


def _open_session(runtime: Any, path: Path, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Errors reach the caller as exceptions; the log would only say them twice.
    options.logid = "edgevision"
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except list_failures() as error:
        raise InvalidModelError(
            "not a model that ONNX Runtime can run",
            received=f"{path}: {summarize(error)}",
            remedy="check the file, or export the model again",
        ) from error


@cache
def list_failures() -> tuple[type[Exception], ...]:
    """List the runtime's own exception classes; they share no base but ``Exception``."""
    state = import_backend("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [
        value
        for value in vars(state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    return (*own, ValueError, RuntimeError)


def _describe(node: Any) -> TensorSpec:
    """Describe an input or output; symbolic dimensions are -1, a symbolic batch is 1."""
    shape = [d if isinstance(d, int) else -1 for d in node.shape]
    if len(shape) > 1 and shape[0] == -1:
        shape[0] = 1
    kind = str(node.type).removeprefix("tensor(").removesuffix(")")
    return TensorSpec(name=node.name, shape=tuple(shape), dtype=_DTYPES.get(kind, kind))


def _make_zeros(spec: TensorSpec) -> Array:
    return np.zeros([max(d, 1) for d in spec.shape], dtype=spec.dtype)
