"""Concatenations that a delegate takes: long ones are split into short ones."""

from __future__ import annotations

from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Op
from edgevision.graph.tflite import read_tflite

MAX_PARTS = 5
"""What XNNPACK takes at once; a concatenation of more breaks its partition in two."""


def split_concats(model: bytes) -> bytes:
    """Split concatenations of more than five tensors; the result is the same.

    Args:
        model: Bytes of a ``.tflite``.

    Returns:
        The same bytes where there is nothing to split.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
    """
    graph = read_tflite(model)
    long = [op for op in graph.ops if op.name == "CONCATENATION" and len(op.inputs) > MAX_PARTS]
    if not long:
        return model
    editor = ModelEditor(model)
    for op in long:
        _split(editor, op)
    return editor.to_bytes()


def _split(editor: ModelEditor, op: Op) -> None:
    """Join the inputs of one operation in groups first."""
    parts = list(op.inputs)
    while len(parts) > MAX_PARTS:
        size = min(MAX_PARTS, -(-len(parts) // 2))
        groups = [parts[i : i + size] for i in range(0, len(parts), size)]
        parts = [g[0] if len(g) == 1 else _join(editor, op, g) for g in groups]
    editor.model.subgraphs[0].operators[op.index].inputs = parts


def _join(editor: ModelEditor, op: Op, group: list[int]) -> int:
    """Add a concatenation of some inputs, of the type and scale of the whole."""
    subgraph = editor.model.subgraphs[0]
    tensors, operator = subgraph.tensors, subgraph.operators[op.index]
    axis = int(op.attributes["axis"])
    shape = [int(d) for d in tensors[group[0]].shape]
    shape[axis] = sum(int(tensors[t].shape[axis]) for t in group)
    result = editor.add_tensor(f"joined_{len(tensors)}", shape=shape)
    whole = tensors[op.outputs[0]]
    tensors[result].type, tensors[result].quantization = whole.type, whole.quantization
    version = int(editor.model.operatorCodes[operator.opcodeIndex].version)
    # At the end, where it moves no other; packing sorts.
    editor.add_op("CONCATENATION", group, [result], version=version)
    added = editor.model.subgraphs[0].operators[-1]
    added.builtinOptionsType = operator.builtinOptionsType
    added.builtinOptions = operator.builtinOptions
    return result
