"""Running a float network while every tensor in it can be seen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgevision.graph.graph import Graph
from edgevision.runtime.native_log import hide_announcements

Array = np.ndarray[Any, Any]
Visit = Callable[[int, Array], None]
"""Called with a tensor's index and a view of its values, which must not outlive the call."""

# XNNPACK and the plain kernels sum in another order; anything beyond this is a tensor that a
# fused kernel never wrote.
_SAME = 1e-2
# All activations of all interpreters that run side by side.
_MAX_BYTES = 512 * 2**20


class Observer:
    """Runs an interpreter that keeps all tensors, and shows some of them after every image.

    Args:
        interpreter: Allocated, with all tensors kept.
        graph: The network.
        watched: Indices of the tensors to show; empty ones are left out.
        visit: What is done with each.
    """

    def __init__(
        self, interpreter: Any, graph: Graph, watched: Sequence[int], visit: Visit
    ) -> None:
        self._interpreter = interpreter
        self._input = graph.inputs[0]
        self._watched = [t for t in watched if graph.tensors[t].size]
        self._visit = visit

    def observe(self, batch: Array) -> None:
        """Run one image and show its tensors."""
        self.run(batch)
        for index in self._watched:
            # A view: it must be gone before the next run, and is.
            self._visit(index, self._interpreter.tensor(index)())

    def run(self, batch: Array) -> None:
        """Run one image and show nothing."""
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()

    def agrees(self, other: Observer) -> bool:
        """Whether both hold the same values, but for the order of their sums."""
        return all(_is_close(self._read(t), other._read(t)) for t in self._watched)

    def _read(self, index: int) -> Array:
        values: Array = self._interpreter.get_tensor(index)
        return values


def list_activations(graph: Graph) -> list[int]:
    """List the float tensors that the network's operations write, and its inputs."""
    written = [t for op in graph.ops for t in op.outputs if t >= 0]
    every = dict.fromkeys((*graph.inputs, *written))
    return [t for t in every if graph.tensors[t].dtype == "float32" and not _is_weight(graph, t)]


def open_observers(
    model: bytes, graph: Graph, watched: Sequence[int], *, batch: Array, visits: Sequence[Visit]
) -> list[Observer]:
    """Open a model several times, with XNNPACK where that writes every tensor, otherwise without.

    Args:
        model: Bytes of the ``.tflite``.
        graph: The same model, read.
        watched: Indices of the tensors to show.
        batch: One input, on which both are compared; it is not shown.
        visits: What is done with each tensor after every image, for each observer.
    """
    xnnpack = _writes_all(model, graph, watched, batch)
    return [Observer(_open_interpreter(model, xnnpack), graph, watched, v) for v in visits]


def choose_count(graph: Graph, watched: Sequence[int], threads: int) -> int:
    """Return how many observers fit in memory side by side, one for each thread at the most."""
    needed = sum(graph.tensors[t].nbytes for t in watched)
    return max(1, min(threads, _MAX_BYTES // max(needed, 1)))


def _writes_all(model: bytes, graph: Graph, watched: Sequence[int], batch: Array) -> bool:
    """Whether XNNPACK writes what the plain kernels write."""
    plain, fast = (
        Observer(_open_interpreter(model, xnnpack), graph, watched, _ignore)
        for xnnpack in (False, True)
    )
    try:
        fast.run(batch)
        plain.run(batch)
        return fast.agrees(plain)
    except (RuntimeError, ValueError):  # a tensor without memory, or a kernel that refuses
        return False


def _ignore(index: int, values: Array) -> None:
    """Do nothing with a tensor."""


def _is_weight(graph: Graph, index: int) -> bool:
    """Whether a tensor only passes a constant on, as ``DEQUANTIZE`` of float16 weights does."""
    producer = graph.producers.get(index)
    if producer is None:
        return graph.tensors[index].constant
    return all(t.constant for t in graph.op_inputs(graph.ops[producer]))


def _is_close(a: Array, b: Array) -> bool:
    reach = float(np.abs(b).max(initial=0.0))
    return bool(np.abs(a - b).max(initial=0.0) <= _SAME * max(reach, 1e-6))


def _open_interpreter(model: bytes, xnnpack: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN
    if not xnnpack:
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with hide_announcements(), warnings.catch_warnings():
        # It warns of the memory that all tensors take; that is what is wanted here.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter
