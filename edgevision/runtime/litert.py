"""TensorFlow Lite files on the CPU, through whichever interpreter is installed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgevision.errors import BackendUnavailableError, InvalidModelError, summarize
from edgevision.graph.tflite import read_tflite
from edgevision.graph.tflite_schema import DETECTION_POSTPROCESS
from edgevision.runtime.inputs import check_inputs, name_uniquely
from edgevision.runtime.native_log import hide_announcements
from edgevision.runtime.session import Placement
from edgevision.specs import Device, Quantization, TensorSpec
from edgevision.threads import resolve_threads

Array = np.ndarray[Any, Any]

INTERPRETERS = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
    ("tensorflow.lite.python.interpreter", "tensorflow"),
)
"""Modules with an ``Interpreter``, best first, each with the distribution that brings it."""

_FAILURES = (ValueError, RuntimeError, TypeError)
MAIN_SIGNATURE = "serving_default"
"""The signature that is run where a file has several."""


class LiteRtSession:
    """A ``.tflite`` model on the CPU, with XNNPACK where it applies.

    Not thread-safe: use one session per thread.

    Args:
        path: The model file.
        threads: Threads of the interpreter; by default the usable physical cores, at most 4. A
            detector whose suppression would lose boxes with so many gets fewer, and the note of
            ``placement`` says so.

    Attributes:
        threads: How many there really are.

    Raises:
        InvalidModelError: The interpreter refuses the file.
        BackendUnavailableError: No interpreter is installed.
        InvalidConfigError: ``threads`` is below 1.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self.path = Path(path)
        self.threads = resolve_threads(threads)
        runtime, self._distribution = find_interpreter()
        self._interpreter, self._note = self._open(runtime, self.threads)
        safe = _limit_threads(self._interpreter, self.path, self.threads)
        if safe < self.threads:
            self._interpreter, self._note = self._open(runtime, safe)
            self._note = "; ".join(filter(None, (self._note, _describe_limit(self.threads, safe))))
            self.threads = safe
        self._inputs, self._outputs = describe_tensors(self._interpreter)
        self._input_specs = tuple(self._inputs.values())
        self._input_indices = {spec.name: index for index, spec in self._inputs.items()}

    def _open(self, runtime: ModuleType, threads: int) -> tuple[Any, str]:
        """Return an interpreter that is ready to run, and a note on how it was opened."""
        return open_interpreter(runtime, self.path, threads)

    @property
    def backend(self) -> str:
        """Interpreter and version, for example ``ai-edge-litert 2.3.0``."""
        return f"{self._distribution} {_read_version(self._distribution)}".strip()

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What ``run`` takes."""
        return self._input_specs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What ``run`` returns; signature names where the file has a signature."""
        return tuple(self._outputs.values())

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once.

        Args:
            inputs: An array of the declared shape and dtype for each input name.

        Returns:
            Copies of the outputs by name, quantized as the file declares them.

        Raises:
            InvalidConfigError: A name, shape or dtype does not match ``inputs``.
            InvalidModelError: The interpreter fails on this model.
        """
        self.set_inputs(inputs)
        self.invoke()
        get = self._interpreter.get_tensor
        return {spec.name: get(index) for index, spec in self._outputs.items()}

    def set_inputs(self, inputs: Mapping[str, Array]) -> None:
        """Copy inputs into the interpreter, for ``invoke``.

        Raises:
            InvalidConfigError: A name, shape or dtype does not match ``inputs``.
        """
        check_inputs(self._input_specs, inputs)
        for name, array in inputs.items():
            self._interpreter.set_tensor(self._input_indices[name], array)

    def invoke(self) -> None:
        """Run again on the inputs already set (for timing)."""
        try:
            self._interpreter.invoke()
        except _FAILURES as error:
            raise InvalidModelError(
                "the interpreter failed while running the model",
                received=f"{self.path}: {summarize(error)}",
            ) from error

    def placement(self) -> Placement:
        """Tell which operations XNNPACK took; the rest runs in the interpreter's own kernels."""
        return place_nodes(_list_nodes(self._interpreter), note=self._note)

    def close(self) -> None:
        """Free the interpreter; the session can not be used afterwards."""
        self._interpreter = None


@dataclass(frozen=True, slots=True)
class Node:
    """One entry of the interpreter's node list.

    Attributes:
        name: Operation name; a delegate's calls are named ``DELEGATE``.
        inputs: Tensor indices, -1 for an absent optional input.
        outputs: Tensor indices.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def assign_partitions(nodes: Sequence[Node]) -> tuple[int, ...]:
    """Tell which delegate call replaced each operation of the file.

    The interpreter keeps the replaced operations in its list and appends one ``DELEGATE`` node
    per partition. A partition's operations are those from which its outputs are computed,
    followed backwards until the partition's own inputs.

    Args:
        nodes: The interpreter's node list: the file's operations, then the delegate calls.

    Returns:
        For each operation of the file its partition from 0, or -1.

    >>> conv, relu = Node("CONV_2D", (0,), (1,)), Node("RELU", (1,), (2,))
    >>> assign_partitions([conv, relu, Node("DELEGATE", (1,), (2,))])
    (-1, 0)
    """
    ops = [node for node in nodes if node.name != "DELEGATE"]
    calls = [node for node in nodes if node.name == "DELEGATE"]
    producers = {tensor: i for i, op in enumerate(ops) for tensor in op.outputs}
    partition_of = [-1] * len(ops)
    for number, call in enumerate(calls):
        seen = set(call.inputs)
        pending = [t for t in call.outputs if t not in seen]
        while pending:
            tensor = pending.pop()
            if tensor in seen or tensor not in producers:
                continue
            seen.add(tensor)
            op = producers[tensor]
            partition_of[op] = number
            pending.extend(ops[op].inputs)
    return tuple(partition_of)


def place_nodes(nodes: Sequence[Node], *, note: str = "") -> Placement:
    """Tell from an interpreter's node list which operations XNNPACK took.

    Args:
        nodes: As ``assign_partitions`` takes them.
        note: What a reader must know beside.
    """
    partition_of = assign_partitions(nodes)
    partitions = len(set(partition_of) - {-1})
    return Placement(
        device=Device.CPU,
        total_ops=len(partition_of),
        delegated_ops=sum(p >= 0 for p in partition_of),
        partitions=partitions,
        delegate="XNNPACK" if partitions else "",
        note=note,
        partition_of=partition_of,
    )


@cache
def find_interpreter() -> tuple[ModuleType, str]:
    """Return the best interpreter module that is installed, and the distribution it is from.

    Raises:
        BackendUnavailableError: There is none, or none can be imported.
    """
    troubles = []
    for module, distribution in INTERPRETERS:
        try:
            return import_module(module), distribution
        except ModuleNotFoundError as error:
            troubles.append(f"{distribution}: {error.msg}")
        except (ImportError, AttributeError) as error:
            # Built against another NumPy, or for another processor: the next one may do.
            troubles.append(f"{distribution}: {summarize(error)}")
    raise BackendUnavailableError(
        "running a .tflite file needs ai-edge-litert (or tflite-runtime on 32-bit Arm)",
        extra="tflite-runtime",
        received="; ".join(troubles),
    )


def _read_version(distribution: str) -> str:
    # Costs as much as loading a small model, and hardly anyone asks.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:  # a build under another name, tensorflow-cpu for one
        return ""


def open_interpreter(
    runtime: ModuleType, path: Path, threads: int, *, delegates: Sequence[Any] = ()
) -> tuple[Any, str]:
    """Open the file with XNNPACK, or without where only XNNPACK refuses it.

    Args:
        runtime: The interpreter's module.
        path: The model file.
        threads: Threads of the interpreter.
        delegates: What is offered the operations before XNNPACK.

    Returns:
        An interpreter that is ready to run, and a note where XNNPACK refused.

    Raises:
        InvalidModelError: The interpreter refuses the file.
    """
    resolvers = runtime.OpResolverType
    settings = {"num_threads": threads, "experimental_delegates": list(delegates)}
    try:
        return _allocate(runtime, path, settings, resolvers.AUTO), ""
    except _FAILURES as error:
        first = error
    try:
        plain = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = _allocate(runtime, path, settings, plain)
    except _FAILURES:
        raise _explain_refusal(path, first) from first
    return interpreter, f"XNNPACK refuses this file ({summarize(first)}): it runs without"


def _explain_refusal(path: Path, error: Exception) -> InvalidModelError:
    read_tflite(path)  # explains a damaged or foreign file better than the interpreter
    return InvalidModelError(
        "not a model that the TFLite interpreter can run",
        received=f"{path}: {summarize(error)}",
        remedy=_suggest_remedy(str(error)),
    )


def open_bare_interpreter(path: Path) -> Any:
    """Open a file to look at its tensors and operations, without memory to run it.

    Raises:
        InvalidModelError: The interpreter refuses the file.
    """
    runtime, _ = find_interpreter()
    resolver = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        with hide_announcements():
            return runtime.Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    except _FAILURES as error:
        raise _explain_refusal(path, error) from error


def _limit_threads(interpreter: Any, path: Path, threads: int) -> int:
    """Return with how many threads the file gives all its answers."""
    names = (details["op_name"] for details in interpreter._get_ops_details())
    if threads == 1 or DETECTION_POSTPROCESS not in names:
        return threads  # the graph is not read for nothing
    from edgevision.graph.postprocess_settings import limit_threads

    return limit_threads(read_tflite(path), threads)


def _describe_limit(asked: int, safe: int) -> str:
    return (
        f"with {asked} threads {DETECTION_POSTPROCESS} loses the boxes of one class: "
        f"it runs with {safe}"
    )


def _allocate(runtime: ModuleType, path: Path, settings: Mapping[str, Any], resolver: Any) -> Any:
    with hide_announcements(), warnings.catch_warnings():
        # tf.lite announces its own deprecation; it is the last resort here already.
        warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter")
        interpreter = runtime.Interpreter(
            model_path=str(path), experimental_op_resolver_type=resolver, **settings
        )
        interpreter.allocate_tensors()
    return interpreter


def _suggest_remedy(message: str) -> str:
    if "edgetpu-custom-op" in message:
        return "it is compiled for the Edge TPU: use --device edgetpu, or the file from before that"
    if "Flex" in message or "Select TensorFlow" in message:
        return "convert it again with TFLite's built-in operations only"
    if "custom op" in message:
        return "this operation is not part of TFLite; convert the model without it"
    return "check the file, or convert the model again"


def _list_nodes(interpreter: Any) -> list[Node]:
    return [
        Node(d["op_name"], tuple(map(int, d["inputs"])), tuple(map(int, d["outputs"])))
        for d in interpreter._get_ops_details()
    ]


def describe_tensors(interpreter: Any) -> tuple[dict[int, TensorSpec], dict[int, TensorSpec]]:
    """Describe inputs and outputs by tensor index, in the file's order."""
    inputs, outputs = _read_signature(interpreter)
    return (
        _describe_side(interpreter.get_input_details(), inputs),
        _describe_side(interpreter.get_output_details(), outputs),
    )


def _read_signature(interpreter: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Read the main signature as names by tensor index; empty where the file has none."""
    signatures = interpreter._get_full_signature_list()
    if not signatures:
        return {}, {}
    main = signatures.get(MAIN_SIGNATURE) or next(iter(signatures.values()))
    sides = ({int(i): name for name, i in main[side].items()} for side in ("inputs", "outputs"))
    inputs, outputs = sides
    return inputs, outputs


def _describe_side(
    details: Sequence[Mapping[str, Any]], names: Mapping[int, str]
) -> dict[int, TensorSpec]:
    """Describe one side; a signature that does not cover it whole belongs to another subgraph."""
    indices = [int(d["index"]) for d in details]
    covered = set(names) == set(indices)
    raw = [names[i] if covered else str(d["name"]) for i, d in zip(indices, details, strict=True)]
    unique = name_uniquely(raw)
    return {
        i: TensorSpec(
            name=name,
            shape=tuple(map(int, d["shape"])),
            dtype=np.dtype(d["dtype"]).name,
            quantization=_read_quantization(d["quantization_parameters"]),
        )
        for i, name, d in zip(indices, unique, details, strict=True)
    }


def _read_quantization(parameters: Mapping[str, Any]) -> Quantization | None:
    scales = tuple(map(float, parameters["scales"]))
    if not scales:
        return None
    return Quantization(
        scales=scales,
        zero_points=tuple(map(int, parameters["zero_points"])),
        axis=int(parameters["quantized_dimension"]) if len(scales) > 1 else None,
    )
