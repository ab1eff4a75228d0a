"""The one place that edits ``.tflite`` files.

Bytes in, bytes out. What keeps its size is patched in place; everything else goes through
``ModelEditor``, whose output has one layout: constants inside the flatbuffer, aligned to 16 bytes,
then the archive of associated files, if any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from edgevision.errors import InvalidConfigError
from edgevision.graph.archives import append_files, read_files
from edgevision.graph.flatbuffer_cleanup import remove_unused_buffers
from edgevision.graph.flatbuffer_packing import load_schema, pack_model
from edgevision.graph.graph import Graph
from edgevision.graph.model_editor import ModelEditor
from edgevision.graph.tflite import locate_buffers, open_model, read_tflite
from edgevision.graph.tflite_schema import RAW_TYPES
from edgevision.specs import Quantization

__all__ = [
    "ModelEditor",
    "add_metadata",
    "append_files",
    "create_empty_model",
    "extract_outputs",
    "extract_part",
    "read_files",
    "replace_constants",
    "set_quantization",
]

Array = np.ndarray[Any, Any]


def create_empty_model() -> bytes:
    """Return a model without tensors and operations, to be filled through ``ModelEditor``.

    Raises:
        BackendUnavailableError: ``ai-edge-litert`` is not installed.
    """
    schema = load_schema()
    subgraph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name=b"main")
    model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
    model.subgraphs = [subgraph]
    return pack_model(schema, model)


def replace_constants(
    model: bytes | bytearray, constants: Mapping[int, Array], *, subgraph: int = 0
) -> bytes:
    """Give constant tensors new values of the same shape and type.

    The bytes are patched in place (the cost is one copy of the file), unless a tensor shares its
    values with another one that keeps them: then the model is packed again.

    Args:
        model: Bytes of the whole file.
        constants: New values by tensor index.
        subgraph: Subgraph of the tensors.

    Returns:
        Bytes of the changed file.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
        InvalidConfigError: A tensor does not exist, is no constant, or has another shape or type.
    """
    model = bytes(model)
    graph = _select(read_tflite(model), subgraph)
    for index, array in constants.items():
        _check_replacement(graph, index, array)
    root = open_model(model)
    used = [[t.scalar(2, "I", 0) for t in table.tables(0)] for table in root.tables(2)]
    buffers = {i: used[subgraph][i] for i in constants}
    # Converters store equal constants once: a patch must not reach the others.
    users = Counter(chain.from_iterable(used))
    if any(users[buffer] > 1 for buffer in buffers.values()):
        return _replace_by_packing(model, constants, subgraph)
    spans = locate_buffers(root)
    patched = bytearray(model)
    for index, array in constants.items():
        start, num_bytes = spans[buffers[index]]
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        patched[start : start + num_bytes] = little.tobytes()
    return bytes(patched)


def set_quantization(
    model: bytes | bytearray, parameters: Mapping[int, Quantization | None], *, subgraph: int = 0
) -> bytes:
    """Set or remove (``None``) the affine parameters of tensors; their data stay.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
        InvalidConfigError: There is no such tensor.
    """
    editor = ModelEditor(model)
    for index, quantization in parameters.items():
        editor.set_quantization(index, quantization, subgraph=subgraph)
    return editor.to_bytes()


def add_metadata(
    model: bytes | bytearray,
    buffers: Mapping[str, bytes],
    *,
    files: Mapping[str, bytes] | None = None,
) -> bytes:
    """Add named metadata buffers, in place of those of the same name.

    Args:
        model: Bytes of the whole file.
        buffers: Content by name, such as ``TFLITE_METADATA``.
        files: Associated files, in place of those behind the model; ``None`` keeps them.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
    """
    editor = ModelEditor(model)
    for name, content in buffers.items():
        editor.set_metadata(name, content)
    if files is not None:
        editor.files = dict(files)
    return editor.to_bytes()


def extract_outputs(
    model: bytes | bytearray, tensors: Sequence[int], *, subgraph: int = 0
) -> bytes:
    """Expose inner tensors: they become the outputs, in this order, and nothing else does.

    The network stays whole and tensor indices stay valid; signatures of the subgraph go.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
        InvalidConfigError: There is no such tensor.
    """
    editor = ModelEditor(model)
    editor.set_outputs(tensors, subgraph=subgraph)
    return editor.to_bytes()


def extract_part(model: bytes | bytearray, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """Cut the part that computes ``outputs`` from ``inputs`` out as a model of its own.

    Metadata and associated files describe the whole model and are left behind.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
        InvalidConfigError: The outputs need more than these inputs.
    """
    editor = ModelEditor(model)
    editor.cut(inputs, outputs)
    editor.model.metadata = None
    editor.files = {}
    editor.remove_unused()
    return editor.to_bytes()


def _select(graph: Graph, subgraph: int) -> Graph:
    every = (graph, *graph.subgraphs)
    if not 0 <= subgraph < len(every):
        raise InvalidConfigError(
            "the model has no such subgraph", received=f"{subgraph} of {len(every)}"
        )
    return every[subgraph]


def _check_replacement(graph: Graph, index: int, array: Array) -> None:
    if not 0 <= index < len(graph.tensors):
        raise InvalidConfigError(
            "the model has no such tensor", received=f"{index} of {len(graph.tensors)}"
        )
    tensor = graph.tensors[index]
    if tensor.data is None or tensor.dtype in RAW_TYPES:
        raise InvalidConfigError("the tensor is no dense constant", received=f"tensor={index}")
    if array.shape != tensor.data.shape or array.dtype.name != tensor.dtype:
        raise InvalidConfigError(
            "new values need the shape and type of the tensor",
            received=f"{array.dtype}{list(array.shape)} for {tensor.dtype}{list(tensor.shape)}",
            remedy="use ModelEditor.set_constant to change them",
        )


def _replace_by_packing(model: bytes, constants: Mapping[int, Array], subgraph: int) -> bytes:
    editor = ModelEditor(model)
    for index, array in constants.items():
        editor.set_constant(index, array, subgraph=subgraph)
    remove_unused_buffers(editor.model)
    return editor.to_bytes()
