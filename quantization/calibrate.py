"""Activation ranges of a float model, measured on images: true minima and maxima.

The engine's own calibration averages the ranges of single images, which clips what is rare: on a
MobileNetV1 0.25 that costs 12 points of top-1. Ours keeps the extremes, for every channel, since
equalization needs them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.contract import Preprocessing
from edgevision.errors import CalibrationError
from edgevision.graph.graph import Graph
from edgevision.runtime.native_log import hide_announcements

Array = np.ndarray[Any, Any]

# XNNPACK and the plain kernels sum in another order; anything beyond this is a tensor that a
# fused kernel never wrote.
_SAME = 1e-2
# Just beyond half a step at the smallest distance from the middle: see ``find_input_range``.
_TIE_BREAK = 0.002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelRange:
    """What one float tensor held on all images.

    Attributes:
        low: (C,) float32, minimum of each channel (the last axis).
        high: (C,) float32, maximum of each channel.
    """

    low: Array
    high: Array

    def bounds(self) -> tuple[float, float]:
        """Return minimum and maximum over all channels."""
        return float(self.low.min()), float(self.high.max())


Ranges = Mapping[int, ChannelRange]
"""Range of every float activation by tensor index."""


def collect_ranges(
    model: bytes, graph: Graph, batches: Iterable[Array], *, threads: int = 1
) -> dict[int, ChannelRange]:
    """Run a float model and record the range of every float activation, in one pass.

    Args:
        model: Bytes of the ``.tflite``.
        graph: The same model, read.
        batches: Input tensors, one image each.
        threads: Of the interpreter.

    Returns:
        Ranges by tensor index; memory does not grow with the number of images.

    Raises:
        CalibrationError: No images, or an activation is NaN or infinite; its layer is named.
    """
    watched = _list_activations(graph)
    observer: _Observer | None = None
    for batch in batches:
        if observer is None:
            observer = _open_observer(model, graph, watched, batch=batch, threads=threads)
        observer.observe(batch)
    if observer is None:
        raise CalibrationError("calibration needs at least one image")
    found = observer.found
    for index, seen in found.items():
        if not (np.isfinite(seen.low).all() and np.isfinite(seen.high).all()):
            raise CalibrationError(
                "an activation is NaN or infinite, so it has no range",
                received=f"layer {name_tensor(graph, index)}",
                remedy="check the model's weights and its mean and std",
            )
    return found


def find_input_range(preprocessing: Preprocessing) -> tuple[float, float]:
    """Return the range that the 256 pixel values take after normalization, ready to quantize.

    For ``[0, 1]`` every pixel value becomes exactly one code. For ``[-1, 1]`` with the exact
    scale, every value would lie halfway between two codes, and readers round ties differently
    (to even merges half of the codes); a scale 0.2 % wider makes the rounding the same everywhere.

    >>> find_input_range(Preprocessing(mean=(0,), std=(255,)))
    (0.0, 1.0)
    """
    low = min((0 - m) / s for m, s in _pair(preprocessing))
    high = max((255 - m) / s for m, s in _pair(preprocessing))
    step = (high - low) / 255
    fraction = abs(-low / step - round(-low / step))
    if fraction < 0.25:
        return low, high
    step *= 1 + _TIE_BREAK
    zero = round(-128 - low / step)
    return (-128 - zero) * step, (127 - zero) * step


def widen_range(low: float, high: float) -> tuple[float, float]:
    """Make a range hold zero and have a width, as integer kernels need it.

    >>> widen_range(0.0, 0.0), widen_range(2.0, 3.0)
    ((0.0, 1.0), (0.0, 3.0))
    """
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > np.finfo(np.float32).tiny else (0.0, 1.0)


def name_tensor(graph: Graph, index: int) -> str:
    """Name a tensor for people: converters join the names of everything they fused by ``;``."""
    return graph.tensors[index].name.partition(";")[0] or f"tensor {index}"


def measure_channels(values: Array) -> tuple[Array, Array]:
    """Return minimum and maximum of each channel (the last axis).

    >>> [v.tolist() for v in measure_channels(np.array([[1.0, 5.0], [3.0, 4.0]]))]
    [[1.0, 4.0], [3.0, 5.0]]
    """
    channels = values.shape[-1] if values.ndim else 1
    rows = values.size // channels
    # NumPy is slow on short rows: several pixels are taken as one.
    joined = next((n for n in (64, 49, 32, 16, 8, 7, 4) if rows % n == 0 and channels < 512), 1)
    flat = values.reshape(-1, joined * channels)
    low, high = flat.min(axis=0), flat.max(axis=0)
    return (
        low.reshape(joined, channels).min(axis=0),
        high.reshape(joined, channels).max(axis=0),
    )


class _Observer:
    """Runs an interpreter that keeps all tensors, and records their extremes."""

    def __init__(self, interpreter: Any, graph: Graph, watched: list[int]) -> None:
        self.found: dict[int, ChannelRange] = {}
        self._interpreter = interpreter
        self._input = graph.inputs[0]
        self._watched = watched

    def observe(self, batch: Array) -> None:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        for index in self._watched:
            # A view: it must be gone before the next run, and is.
            values = self._interpreter.tensor(index)()
            if not values.size:
                continue
            low, high = measure_channels(values)
            seen = self.found.get(index)
            if seen is not None:
                low, high = np.minimum(low, seen.low), np.maximum(high, seen.high)
            self.found[index] = ChannelRange(low=low, high=high)

    def read(self, index: int) -> Array:
        values: Array = self._interpreter.get_tensor(index)
        return values


def _list_activations(graph: Graph) -> list[int]:
    """List the float tensors that the network's operations write, and its inputs."""
    written = [t for op in graph.ops for t in op.outputs if t >= 0]
    every = dict.fromkeys((*graph.inputs, *written))
    return [t for t in every if graph.tensors[t].dtype == "float32" and not _is_weight(graph, t)]


def _is_weight(graph: Graph, index: int) -> bool:
    """Whether a tensor only passes a constant on, as ``DEQUANTIZE`` of float16 weights does."""
    producer = graph.producers.get(index)
    if producer is None:
        return graph.tensors[index].constant
    return all(t.constant for t in graph.op_inputs(graph.ops[producer]))


def _open_observer(
    model: bytes, graph: Graph, watched: list[int], *, batch: Array, threads: int
) -> _Observer:
    """Open the model with XNNPACK where that writes every tensor, otherwise without."""
    plain = _Observer(_open_interpreter(model, False, 1), graph, watched)
    fast = _Observer(_open_interpreter(model, True, threads), graph, watched)
    try:
        fast.observe(batch)
    except (RuntimeError, ValueError):  # a tensor without memory, or a kernel that refuses
        return plain
    plain.observe(batch)
    alike = all(_is_close(fast.read(t), plain.read(t)) for t in watched)
    return fast if alike else plain


def _is_close(a: Array, b: Array) -> bool:
    reach = float(np.abs(b).max(initial=0.0))
    return bool(np.abs(a - b).max(initial=0.0) <= _SAME * max(reach, 1e-6))


def _open_interpreter(model: bytes, xnnpack: bool, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN
    if not xnnpack:
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with hide_announcements(), warnings.catch_warnings():
        # It warns of the memory that all tensors take; that is what is wanted here.
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        interpreter = Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=resolver,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def _pair(preprocessing: Preprocessing) -> list[tuple[float, float]]:
    size = max(len(preprocessing.mean), len(preprocessing.std))
    means = preprocessing.mean * (size // len(preprocessing.mean))
    stds = preprocessing.std * (size // len(preprocessing.std))
    return list(zip(means, stds, strict=True))
