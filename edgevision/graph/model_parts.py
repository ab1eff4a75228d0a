"""Cutting many small models out of one ``.tflite``, to run a network piece by piece.

``flatbuffer.extract_part`` cuts one part and unpacks the whole file for it. Here the file is
unpacked once, and each part shares its constants until it is packed.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevision.graph.flatbuffer_cleanup import list_indices
from edgevision.graph.model_editor import ModelEditor

Array = np.ndarray[Any, Any]

_NEVER = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A model that runs some consecutive operations of another one.

    Attributes:
        model: Bytes of the ``.tflite``.
        inputs: Tensor indices of the whole model that the part's inputs stand for, in order.
        outputs: The same for its outputs: what later operations or the caller still need.
    """

    model: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class PartCutter:
    """Cuts parts out of the main subgraph of one model.

    Args:
        model: Bytes of the whole file.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
    """

    def __init__(self, model: bytes) -> None:
        self._editor = ModelEditor(model)
        self._whole = self._editor.model
        self._graph = self._whole.subgraphs[0]
        self._constant = [self._is_constant(t) for t in self._graph.tensors]
        self._last_reader: dict[int, int] = {}
        for index, op in enumerate(self._graph.operators):
            self._last_reader.update((t, index) for t in list_indices(op.inputs))
        self._last_reader.update((t, _NEVER) for t in list_indices(self._graph.outputs))

    def is_needed(self, tensor: int, position: int) -> bool:
        """Whether the operation at ``position`` or a later one reads the tensor."""
        return self._last_reader.get(tensor, -1) >= position

    def cut(
        self,
        first: int,
        last: int,
        constants: Mapping[int, Array] | None = None,
        *,
        scales: Mapping[int, Array] | None = None,
    ) -> Part:
        """Cut the operations ``first`` to ``last - 1`` out.

        Args:
            first: Index of the first operation.
            last: Index behind the last operation.
            constants: New values of constants by tensor index, of the same shape and type.
            scales: New scales of quantized tensors by tensor index, as many as they have.
        """
        ops = self._graph.operators[first:last]
        written = [t for op in ops for t in list_indices(op.outputs)]
        read = dict.fromkeys(t for op in ops for t in list_indices(op.inputs))
        inputs = tuple(t for t in read if not self._constant[t] and t not in written)
        outputs = tuple(t for t in written if self.is_needed(t, last))
        changes = (constants or {}, scales or {})
        model = self._pack(ops, inputs, outputs, changes)
        return Part(model=model, inputs=inputs, outputs=outputs)

    def _is_constant(self, tensor: Any) -> bool:
        data = self._whole.buffers[tensor.buffer].data
        return data is not None and len(data) > 0

    def _pack(
        self,
        ops: list[Any],
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        changes: tuple[Mapping[int, Array], Mapping[int, Array]],
    ) -> bytes:
        schema = self._editor.schema
        lists = (indices for op in ops for indices in (op.inputs, op.outputs, op.intermediates))
        used = sorted({t for indices in lists for t in list_indices(indices)})
        place = {t: i for i, t in enumerate(used)} | {-1: -1}
        buffers = [schema.BufferT()]
        tensors = [self._copy_tensor(t, changes, buffers) for t in used]
        subgraph = schema.SubGraphT(
            tensors=tensors,
            inputs=[place[t] for t in inputs],
            outputs=[place[t] for t in outputs],
            operators=[_renumber(op, place) for op in ops],
        )
        model = schema.ModelT(
            version=3, operatorCodes=self._whole.operatorCodes, subgraphs=[subgraph]
        )
        model.buffers = buffers
        packer = copy.copy(self._editor)
        packer.model, packer.files = model, {}
        return packer.to_bytes()

    def _copy_tensor(
        self,
        index: int,
        changes: tuple[Mapping[int, Array], Mapping[int, Array]],
        buffers: list[Any],
    ) -> Any:
        constants, scales = changes
        tensor = copy.copy(self._graph.tensors[index])
        if index in scales:
            tensor.quantization = copy.copy(tensor.quantization)
            tensor.quantization.scale = scales[index].astype(np.float32)
        if not self._constant[index]:
            tensor.buffer = 0
            return tensor
        data = self._whole.buffers[tensor.buffer].data
        if index in constants:
            data = np.frombuffer(constants[index].tobytes(), np.uint8)
        tensor.buffer = len(buffers)
        buffers.append(self._editor.schema.BufferT(data=data))
        return tensor


def _renumber(op: Any, place: Mapping[int, int]) -> Any:
    moved = copy.copy(op)
    for name in ("inputs", "outputs", "intermediates"):
        indices = getattr(op, name)
        if indices is not None:
            setattr(moved, name, [place[int(t)] for t in indices])
    return moved
