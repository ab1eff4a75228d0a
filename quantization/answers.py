"""What a network, float or quantized, answers to float inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.graph import Tensor
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.walk import run_images
from edgevision.runtime.classify import dequantize

Array = np.ndarray[Any, Any]


def run_network(model: bytes, images: Array, *, threads: int = 1) -> tuple[Array, ...]:
    """Return what a network answers to float inputs: (N, …) float32 for each output."""
    graph = read_tflite(model)
    stored = quantize_images(images, graph.tensors[graph.inputs[0]])
    tensors = [graph.tensors[t] for t in graph.outputs]
    results = [np.empty((len(images), *t.shape), t.dtype) for t in tensors]
    run_images(model, [stored], results, threads=threads)
    pairs = zip(results, tensors, strict=True)
    return tuple(dequantize(values, tensor.quantization) for values, tensor in pairs)


def quantize_images(images: Array, tensor: Tensor) -> Array:
    """Bring float inputs to the dtype of a network's input."""
    if tensor.quantization is None:
        return images
    info = np.iinfo(tensor.dtype)
    scale = np.float32(tensor.quantization.scales[0])
    zero = tensor.quantization.zero_points[0]
    stored = np.empty(images.shape, tensor.dtype)
    for image, out in zip(images, stored, strict=True):  # one by one: small temporaries
        out[...] = np.clip(np.rint(image / scale) + zero, info.min, info.max)
    return stored
