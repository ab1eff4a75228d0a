"""Constants that a file computes while it runs: float16 weights behind DEQUANTIZE."""

from __future__ import annotations

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.diagnosis.values import dequantize_tensor


def fold_constants(model: bytes) -> bytes:
    """Replace every DEQUANTIZE of a constant by a float constant.

    A single layer can not be cut out otherwise: interpreters take no weights as inputs.
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
