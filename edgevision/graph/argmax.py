"""The class map of a segmenter inside a ``.tflite``: put behind its scores, and taken off again."""

from __future__ import annotations

import numpy as np

from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.graph import Graph, Op
from edgevision.graph.ops import OpKind
from edgevision.graph.tflite import read_tflite
from edgevision.graph.tflite_schema import TENSOR_TYPES

CLASS_MAP = "class_map"
"""Name of the output that holds one class number per pixel."""

SCORE_MAP = "score_map"
"""Name of the output that is left where a class map without a name is taken off."""

MAIN_SIGNATURE = "serving_default"

_RANK = 4
_INT32 = next(code for code, (name, _) in TENSOR_TYPES.items() if name == "int32")


def append_argmax(model: bytes) -> bytes:
    """Let a segmenter answer the number of the best class of each pixel.

    Args:
        model: Bytes of a ``.tflite`` with one output (1, H, W, C), float or quantized.

    Returns:
        Bytes of a model with the output ``class_map`` (1, H, W) int32; equal scores count for the
        first class.

    Raises:
        InvalidConfigError: The model does not answer one score per class and pixel.
    """
    graph = read_tflite(model)
    check_score_map([spec.shape for spec in graph.output_specs()])
    scores = graph.tensors[graph.outputs[0]]
    editor = ModelEditor(model)
    axis = editor.add_tensor("class_axis", data=np.array(_RANK - 1, np.int32))
    result = editor.add_tensor(CLASS_MAP, shape=scores.shape[:-1], dtype="int32")
    editor.add_op(
        "ARG_MAX",
        [scores.index, axis],
        [result],
        options=("ArgMaxOptions", {"outputType": _INT32}),
        version=1 if scores.dtype == "float32" else 2,
    )
    _name_output(editor, graph, CLASS_MAP, result)
    return editor.to_bytes()


def detach_argmax(model: bytes) -> bytes:
    """Take the class map off a segmenter: it answers its scores again.

    Raises:
        InvalidModelError: The model does not end in ``ARG_MAX``.
    """
    graph = read_tflite(model)
    op = find_argmax(graph)
    if op is None:
        raise InvalidModelError("the model does not end in ARG_MAX", received=graph.name)
    editor = ModelEditor(model)
    editor.cut(graph.inputs, op.inputs[:1])
    _name_output(editor, graph, SCORE_MAP, op.inputs[0])
    editor.remove_unused()
    return editor.to_bytes()


def find_argmax(graph: Graph) -> Op | None:
    """Return the operation that makes scores (1, H, W, C) the model's only output, a class map."""
    if len(graph.outputs) != 1 or graph.outputs[0] not in graph.producers:
        return None
    op = graph.ops[graph.producers[graph.outputs[0]]]
    ends = op.kind is OpKind.ARG_MAX and op.name != "ARG_MIN"
    if not ends or len(graph.tensors[op.inputs[0]].shape) != _RANK:
        return None
    return op


def check_score_map(shapes: list[tuple[int, ...]], axis: int = _RANK - 1) -> None:
    """Hold that a model answers one score per class and pixel, for two classes at least.

    Args:
        shapes: Of its outputs.
        axis: Of the classes.

    Raises:
        InvalidConfigError: It does not.
    """
    if len(shapes) != 1 or len(shapes[0]) != _RANK or shapes[0][axis] < 2:
        raise InvalidConfigError(
            "a class map is made of one score for each class and pixel",
            received=f"outputs {[list(shape) for shape in shapes]}",
            remedy="leave --argmax out",
        )


def _name_output(editor: ModelEditor, graph: Graph, name: str, tensor: int) -> None:
    signature = graph.signatures.get(MAIN_SIGNATURE) or next(iter(graph.signatures.values()), None)
    inputs = signature[0] if signature else {graph.tensors[t].name: t for t in graph.inputs}
    editor.set_outputs([tensor])
    editor.set_signature(MAIN_SIGNATURE, inputs=inputs, outputs={name: tensor})
