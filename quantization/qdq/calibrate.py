"""Activation ranges of a float ONNX network, measured on images: true minima and maxima."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from edgevision.errors import CalibrationError
from edgevision.graph.graph import Graph
from edgevision.quantization.calibrate import Calibration, ChannelExtremes, check_finite
from edgevision.quantization.observe import list_activations
from edgevision.quantization.qdq.network import OnnxNetwork
from edgevision.quantization.qdq.runs import iterate_onnx

Array = np.ndarray[Any, Any]


def calibrate_onnx(
    network: OnnxNetwork, batches: Iterable[Array], *, threads: int = 1
) -> Calibration:
    """Run a float network and record the range of what every operation writes, in one pass.

    Args:
        network: Before its ranges are measured.
        batches: Input tensors, one image each.
        threads: Of the runtime.

    Returns:
        Ranges by tensor index, and two numbers of each tensor for every image.

    Raises:
        CalibrationError: An activation is NaN or infinite; its layer is named.
    """
    graph = network.graph
    watched = find_watched(graph)
    names = [graph.tensors[t].name for t in watched]
    extremes, history = ChannelExtremes(), list[list[tuple[float, float]]]()
    for values in iterate_onnx(network.model, batches, names, threads=threads):
        for tensor, held in zip(watched, values, strict=True):
            extremes.add(tensor, _reduce(network.view.turn(tensor, held)))
        history.append(extremes.take_image())
    if not history:
        raise CalibrationError("calibration needs at least one image")
    ranges = extremes.find_ranges()
    check_finite(graph, ranges)
    shown = np.array(history, np.float32)
    return Calibration(ranges=ranges, lows=shown[:, :, 0], highs=shown[:, :, 1])


def find_watched(graph: Graph) -> list[int]:
    """List what operations write in float, and of a fixed size."""
    tensors = (graph.tensors[t] for t in list_activations(graph) if t not in graph.inputs)
    return [t.index for t in tensors if t.static and t.size]


def _reduce(values: Array) -> Array:
    """Return (2, C) minimum and maximum of each channel, the last axis."""
    channels = values.shape[-1] if values.ndim else 1
    axes = tuple(range(values.ndim - 1))
    return np.stack([values.min(axis=axes), values.max(axis=axes)]).reshape(2, channels)
