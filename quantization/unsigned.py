"""Unsigned bytes in and out of an int8 network, as pixels are and older programs expect.

A QUANTIZE in front and behind moves the values by 128, which is exact: scales stay, and so do the
zero points relative to them.
"""

from __future__ import annotations

from typing import Any

from edgevision.errors import InvalidConfigError
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Tensor
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.schemes import SchemeRow
from edgevision.specs import Quantization

_SHIFT = 128


def check_unsigned(row: SchemeRow, *, wanted: bool) -> None:
    """Refuse unsigned inputs and outputs where they are no bytes.

    Raises:
        InvalidConfigError: The scheme has other activations.
    """
    if wanted and row.activation_bits != 8:
        raise InvalidConfigError(
            "only 8-bit activations can be unsigned bytes",
            received=f"scheme={row.scheme}",
            remedy="use --scheme int8 or edgetpu",
        )


def make_unsigned(model: bytes) -> bytes:
    """Let a network take and give uint8 where it takes and gives int8.

    Args:
        model: Bytes of the quantized ``.tflite``; outputs in float, as of suppressed boxes, stay.

    Returns:
        Bytes of one that computes the same, with the same names and signatures.
    """
    graph = read_tflite(model)
    editor = ModelEditor(model)
    faces = {t: _add_face(editor, graph.tensors[t]) for t in (*graph.inputs, *graph.outputs)}
    for tensor in dict.fromkeys(graph.inputs):
        if tensor != faces[tensor]:
            editor.add_op("QUANTIZE", [faces[tensor]], [tensor], position=0)
    for tensor in dict.fromkeys(graph.outputs):
        if tensor != faces[tensor] and tensor not in graph.inputs:
            editor.add_op("QUANTIZE", [tensor], [faces[tensor]])
    _show_faces(editor.model, faces)
    return editor.to_bytes()


def _add_face(editor: ModelEditor, tensor: Tensor) -> int:
    """Add what stands for an int8 tensor outside, under its name; others stand for themselves."""
    known = tensor.quantization
    if tensor.dtype != "int8" or known is None:
        return tensor.index
    shifted = tuple(int(point) + _SHIFT for point in known.zero_points)
    editor.model.subgraphs[0].tensors[tensor.index].name = f"{tensor.name}/int8"
    return editor.add_tensor(
        tensor.name,
        shape=tensor.shape,
        dtype="uint8",
        quantization=Quantization(scales=known.scales, zero_points=shifted),
    )


def _show_faces(model: Any, faces: dict[int, int]) -> None:
    subgraph = model.subgraphs[0]
    subgraph.inputs = [faces[int(t)] for t in subgraph.inputs]
    subgraph.outputs = [faces[int(t)] for t in subgraph.outputs]
    for signature in model.signatureDefs or []:
        for entry in [*(signature.inputs or []), *(signature.outputs or [])]:
            if signature.subgraphIndex == 0:
                entry.tensorIndex = faces[int(entry.tensorIndex)]
