"""Constants that a file stores narrower than it computes with them: float16 weights, mostly."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite import read_tflite
from edgevision.specs import Quantization

Array = np.ndarray[Any, Any]


def dequantize_tensor(values: Array, quantization: Quantization | None) -> Array:
    """Return the real values of integers, whatever axis their scales are along, as float32."""
    if quantization is None:
        return np.asarray(values, np.float32)
    scales = np.asarray(quantization.scales, np.float32)
    zeros = np.asarray(quantization.zero_points, np.float32)
    if len(scales) > 1:
        shape = [1] * values.ndim
        shape[quantization.axis or 0] = len(scales)
        scales, zeros = scales.reshape(shape), zeros.reshape(shape)
    real: Array = (values.astype(np.float32) - zeros) * scales
    return real


def unpack_constants(model: bytes) -> bytes:
    """Replace every DEQUANTIZE of a constant by a float constant.

    A single layer can not be cut out otherwise: interpreters take no weights as inputs. Nor can its
    weights be quantized.
    """
    graph = read_tflite(model)
    found = [
        op
        for op in graph.ops
        if op.kind is OpKind.DEQUANTIZE and graph.tensors[op.inputs[0]].data is not None
    ]
    if not found:
        return model
    editor = ModelEditor(model)
    for op in found:
        tensor = graph.tensors[op.inputs[0]]
        if tensor.data is None:
            continue
        real = dequantize_tensor(tensor.data, tensor.quantization)
        name = graph.tensors[op.outputs[0]].name
        editor.rewire(op.outputs[0], editor.add_tensor(f"{name}/folded", data=real))
    editor.remove_ops([op.index for op in found])
    editor.remove_unused()
    return editor.to_bytes()
