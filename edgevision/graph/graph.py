"""The immutable in-memory graph into which every model format is read.

A ``Graph`` describes one network: tensors, operations in execution order, inputs and outputs.
Constants are held by reference (views into the mapped file where the format allows it).

``Tensor`` and ``Op`` are read-only by their types (``Final``, which mypy holds) and not by
``frozen=True``: setting the fields of a frozen dataclass takes five times as long, and a planner
that weighs a thousand networks makes half a million of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Final

from edgevision.graph.ops import OpKind
from edgevision.specs import ModelFormat, Quantization, TensorSpec

if TYPE_CHECKING:
    import numpy as np

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "uint64": 8,
    "int32": 4,
    "uint32": 4,
    "int16": 2,
    "uint16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
}


@dataclass(slots=True, eq=False)
class Tensor:
    """A value that flows between operations, or a constant; read-only.

    Attributes:
        index: Position in ``Graph.tensors``.
        name: Name in the file.
        shape: Static shape as Python integers; a dynamic dimension is -1.
        dtype: NumPy name of the element type; ``int4`` and ``int2`` as such, ``string`` for text.
        data: The constant's values, a read-only view where the format allows; ``None`` for
            activations, and for the weights of a graph that has shapes only.
        constant: Whether the tensor is a weight or another constant, with or without ``data``.
        trainable: Whether training changes it (BatchNorm statistics are constants that are not).
        quantization: Affine parameters of a quantized tensor.
    """

    index: Final[int]
    name: Final[str]
    shape: Final[tuple[int, ...]]
    dtype: Final[str] = "float32"
    data: Final[np.ndarray[Any, Any] | None] = None
    constant: Final[bool] = False
    trainable: Final[bool] = True
    quantization: Final[Quantization | None] = None

    @property
    def size(self) -> int:
        """Number of elements; a dynamic dimension counts as 1."""
        shape = self.shape
        # Asked for hundreds of times per network: no generator where nothing is dynamic.
        return prod(shape) if -1 not in shape else prod(max(d, 1) for d in shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, without alignment."""
        item_bytes = ITEM_BYTES.get(self.dtype)
        if item_bytes is not None:
            return self.size * item_bytes
        if self.dtype in ("int4", "uint4"):
            return (self.size + 1) // 2
        return (self.size + 3) // 4 if self.dtype == "int2" else 0

    @property
    def static(self) -> bool:
        """Whether every dimension is known."""
        return all(d >= 0 for d in self.shape)


@dataclass(slots=True, eq=False)
class Op:
    """One operation; read-only.

    Attributes:
        index: Position in ``Graph.ops``.
        kind: What it computes, in the vocabulary shared by all formats.
        name: What its own format calls it: ``CONV_2D``, ``CUSTOM:TFLite_Detection_PostProcess``,
            ``Conv``, ``Conv2D``.
        inputs: Tensor indices; -1 for an optional input that is absent.
        outputs: Tensor indices.
        attributes: Settings, in names that all formats share; what a format does not state is
            absent, and settings that have no name here keep the one of their format.

            - Convolutions and pools: ``kernel`` (height, width), ``strides``, ``dilations``,
              ``padding`` (``"same"``, ``"valid"`` or ``(top, bottom, left, right)``), ``groups``.
            - ``activation`` when one is fused (``"relu"``, ``"relu6"``, ``"relu_n1_to_1"``,
              ``"tanh"``), and for ``ACTIVATION`` the function itself.
            - ``channel_axis`` is 1 where channels come first.
            - ``PAD``: ``padding`` as above where height and width grow and nothing else, otherwise
              ``paddings``: (before, after) of every axis, in a row.
            - ``REDUCE`` and ``GLOBAL_POOL``: ``reduction`` (``"mean"``, ``"max"``, ``"sum"`` …),
              ``axes``, ``keep_dims``.
            - ``RESIZE``: ``mode`` (``"bilinear"``, ``"nearest"`` …), ``half_pixel_centers``,
              ``align_corners``.
            - ``TRANSPOSE``: ``permutation``. ``RESHAPE``: ``shape``. ``MATMUL``: ``transpose_a``,
              ``transpose_b``, or ``equation``. One axis is ``axis``, several are
              ``axes``; they may count from the end.
        label: Name of the layer or node for people, possibly empty.
    """

    index: Final[int]
    kind: Final[OpKind]
    name: Final[str]
    inputs: Final[tuple[int, ...]]
    outputs: Final[tuple[int, ...]]
    attributes: Final[Mapping[str, Any]] = field(default_factory=dict)
    label: Final[str] = ""


@dataclass(frozen=True, eq=False)
class Graph:
    """One network, read-only.

    Attributes:
        name: Name of the network or file.
        format: Where it came from; ``None`` for a network that exists as shapes only.
        tensors: All tensors; ``Op`` and ``inputs``/``outputs`` refer to them by index.
        ops: Operations in execution order.
        inputs: Indices of the input tensors.
        outputs: Indices of the output tensors.
        subgraphs: Further graphs of the same file (bodies of control flow, other signatures).
        file_bytes: Size of the file it was read from, otherwise 0.
        signatures: Signature name to its ``(inputs, outputs)``: tensor index by argument name.
    """

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    format: ModelFormat | None = None
    subgraphs: tuple[Graph, ...] = ()
    file_bytes: int = 0
    signatures: Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]] = field(
        default_factory=dict
    )

    @cached_property
    def producers(self) -> Mapping[int, int]:
        """Index of the op that writes each tensor."""
        return {t: op.index for op in self.ops for t in op.outputs if t >= 0}

    @cached_property
    def consumers(self) -> Mapping[int, tuple[int, ...]]:
        """Indices of the ops that read each tensor, in execution order."""
        readers: dict[int, list[int]] = {}
        for op in self.ops:
            for t in dict.fromkeys(op.inputs):
                if t >= 0:
                    readers.setdefault(t, []).append(op.index)
        return {t: tuple(ops) for t, ops in readers.items()}

    @cached_property
    def constants(self) -> tuple[Tensor, ...]:
        """Weights and other constants."""
        return tuple(t for t in self.tensors if t.constant)

    def op_inputs(self, op: Op) -> Iterator[Tensor]:
        """Yield the tensors that ``op`` reads; absent optional inputs are left out."""
        return (self.tensors[i] for i in op.inputs if i >= 0)

    def op_outputs(self, op: Op) -> Iterator[Tensor]:
        """Yield the tensors that ``op`` writes."""
        return (self.tensors[i] for i in op.outputs if i >= 0)

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """Describe the network's inputs."""
        return tuple(spec_of(self.tensors[i]) for i in self.inputs)

    def output_specs(self) -> tuple[TensorSpec, ...]:
        """Describe the network's outputs."""
        return tuple(spec_of(self.tensors[i]) for i in self.outputs)


def spec_of(tensor: Tensor) -> TensorSpec:
    """Describe a tensor without its data."""
    return TensorSpec(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        quantization=tensor.quantization,
    )
