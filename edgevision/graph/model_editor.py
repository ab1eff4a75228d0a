"""Structural edits of ``.tflite`` models, through LiteRT's own schema classes.

A packed file always has one layout: constants inside the flatbuffer, aligned to 16 bytes, which
every interpreter since 2018 reads (constants behind the flatbuffer are moved inside), and the
archive of associated files, if any, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.errors import InvalidConfigError, UnsupportedOpError
from edgevision.graph.archives import append_files, split_files
from edgevision.graph.flatbuffer_cleanup import keep_between, remove_unused, sort_operators
from edgevision.graph.flatbuffer_packing import load_schema, pack_model, unpack_model
from edgevision.graph.tflite import locate_buffers, open_model, read_tflite
from edgevision.graph.tflite_schema import (
    BUILTIN_NAMES,
    CUSTOM_CODE,
    PLACEHOLDER_CODE,
    TENSOR_TYPES,
)
from edgevision.specs import Quantization

Array = np.ndarray[Any, Any]

_TYPE_CODES = {name: code for code, (name, _) in TENSOR_TYPES.items()}


class ModelEditor:
    """Changes the structure of a TFLite model: tensors, operations, outputs, signatures.

    Operations may be added in any place: packing brings them into an order in which every tensor
    is written before it is read, and changes nothing where that is so already. What the edits
    leave unused stays in the file until ``remove_unused``.

    Args:
        model: Bytes of the whole file; associated files behind it are kept.

    Attributes:
        model: The unpacked ``ModelT`` of LiteRT's schema, for what has no method here.
        files: Associated files that go behind the packed model.

    Raises:
        InvalidModelError: The bytes are no sound TFLite model.
        UnsupportedOpError: The model keeps constants in other files.
    """

    def __init__(self, model: bytes | bytearray) -> None:
        model = bytes(model)
        read_tflite(model)  # The schema classes trust every offset.
        root = open_model(model)
        if root.find(9):
            raise UnsupportedOpError("a model with constants in other files can not be changed")
        self.schema = load_schema()
        _, self.files = split_files(model)
        self.model = unpack_model(self.schema, model, locate_buffers(root))

    def to_bytes(self) -> bytes:
        """Pack the model.

        Raises:
            InvalidModelError: The operations depend on each other in a circle.
            UnsupportedOpError: The model is larger than the 2 GiB that the format allows.
        """
        for subgraph in self.model.subgraphs:
            subgraph.operators = sort_operators(subgraph.operators or [])
        return append_files(pack_model(self.schema, self.model), self.files)

    def add_buffer(self, data: bytes | Array) -> int:
        """Add a buffer and return its index."""
        array = np.frombuffer(data, "u1") if isinstance(data, bytes) else _to_bytes(data)
        self.model.buffers.append(self.schema.BufferT(data=array))
        return len(self.model.buffers) - 1

    def add_tensor(
        self,
        name: str,
        *,
        shape: Sequence[int] = (),
        dtype: str = "float32",
        data: Array | None = None,
        quantization: Quantization | None = None,
        subgraph: int = 0,
    ) -> int:
        """Add an activation, or a constant where ``data`` are given, and return its index.

        Args:
            name: Name in the file.
            shape: Shape of an activation; -1 for a dynamic dimension.
            dtype: Element type of an activation.
            data: Values of a constant, whose shape and type count instead.
            quantization: Affine parameters.
            subgraph: Subgraph that gets it.
        """
        tensor = self.schema.TensorT(name=name, hasRank=True)
        tensor.type = _type_code(dtype if data is None else data.dtype.name)
        sizes = list(shape if data is None else data.shape)
        tensor.shape = [max(d, 1) if d < 0 else d for d in sizes]
        if any(d < 0 for d in sizes):
            tensor.shapeSignature = sizes
        tensor.buffer = 0 if data is None else self.add_buffer(data)
        tensors = self.model.subgraphs[subgraph].tensors
        tensors.append(tensor)
        self.set_quantization(len(tensors) - 1, quantization, subgraph=subgraph)
        return len(tensors) - 1

    def set_constant(self, tensor: int, data: Array, *, subgraph: int = 0) -> None:
        """Give a tensor other values (and their shape and type); sharers keep the old ones."""
        target = self._tensor(tensor, subgraph)
        target.type = _type_code(data.dtype.name)
        target.shape = list(data.shape)
        target.shapeSignature = None
        target.sparsity = None
        target.buffer = self.add_buffer(data)

    def set_quantization(
        self, tensor: int, quantization: Quantization | None, *, subgraph: int = 0
    ) -> None:
        """Set or remove (``None``) the affine parameters of a tensor; its data stay."""
        target = self._tensor(tensor, subgraph)
        if quantization is None:
            target.quantization = None
            return
        target.quantization = self.schema.QuantizationParametersT(
            scale=np.asarray(quantization.scales, np.float32),
            zeroPoint=np.asarray(quantization.zero_points, np.int64),
            quantizedDimension=quantization.axis or 0,
        )

    def add_opcode(self, name: str, *, version: int = 1) -> int:
        """Return the index of an operator code, added where the model does not have it yet.

        Args:
            name: As in ``Op.name``: ``CONV_2D`` or ``CUSTOM:TFLite_Detection_PostProcess``.
            version: Version of the operator that the options and types ask for.
        """
        custom = name.removeprefix("CUSTOM:") if name.startswith("CUSTOM:") else None
        if custom is None and name not in BUILTIN_NAMES:
            raise InvalidConfigError("TFLite has no such operation", received=f"name={name}")
        code = CUSTOM_CODE if custom is not None else BUILTIN_NAMES.index(name)
        for index, known in enumerate(self.model.operatorCodes):
            text = known.customCode and bytes(known.customCode).decode()
            found = max(known.builtinCode, known.deprecatedBuiltinCode)
            if (found, text or None, known.version) == (code, custom, version):
                return index
        entry = self.schema.OperatorCodeT(builtinCode=code, version=version)
        entry.deprecatedBuiltinCode = min(code, PLACEHOLDER_CODE)
        entry.customCode = custom and custom.encode()
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1

    def add_op(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        options: tuple[str, Mapping[str, Any]] | None = None,
        custom_options: bytes = b"",
        version: int = 1,
        position: int | None = None,
        subgraph: int = 0,
    ) -> None:
        """Add an operation.

        Args:
            name: As in ``Op.name``.
            inputs: Tensor indices; -1 for an optional one that is absent.
            outputs: Tensor indices.
            options: Name of the schema's options table and its fields as the schema classes call
                them, such as ``("Conv2DOptions", {"strideW": 2, "strideH": 2})``.
            custom_options: Options of a custom operation.
            version: Version of the operator.
            position: Place among the operations; the end where it is ``None``.
            subgraph: Subgraph that gets it.

        Raises:
            InvalidConfigError: There is no such operation, options table or field.
        """
        self._check_tensors([*inputs, *outputs], subgraph, lowest=-1)
        op = self.schema.OperatorT(inputs=list(inputs), outputs=list(outputs))
        op.opcodeIndex = self.add_opcode(name, version=version)
        if options is not None:
            self._set_options(op, *options)
        if custom_options:
            op.customOptions = np.frombuffer(custom_options, "u1")
        graph = self.model.subgraphs[subgraph]
        graph.operators = list(graph.operators or [])
        graph.operators.insert(len(graph.operators) if position is None else position, op)

    def remove_ops(self, indices: Sequence[int], *, subgraph: int = 0) -> None:
        """Remove operations by their indices; what they wrote must no longer be read."""
        dropped = set(indices)
        graph = self.model.subgraphs[subgraph]
        graph.operators = [op for i, op in enumerate(graph.operators) if i not in dropped]

    def rewire(self, old: int, new: int, *, subgraph: int = 0) -> None:
        """Let everything that reads tensor ``old``, the model's outputs too, read ``new``."""
        graph = self.model.subgraphs[subgraph]
        for op in graph.operators:
            op.inputs = [new if i == old else int(i) for i in _listed(op.inputs)]
        graph.outputs = [new if i == old else int(i) for i in graph.outputs]
        for signature in self._signatures(subgraph):
            for entry in signature.outputs or []:
                entry.tensorIndex = new if entry.tensorIndex == old else entry.tensorIndex

    def set_inputs(self, tensors: Sequence[int], *, subgraph: int = 0) -> None:
        """Choose the input tensors; signatures of the subgraph are dropped."""
        self._check_tensors(tensors, subgraph)
        self.model.subgraphs[subgraph].inputs = list(tensors)
        self._drop_signatures(subgraph)

    def set_outputs(self, tensors: Sequence[int], *, subgraph: int = 0) -> None:
        """Choose the output tensors; signatures of the subgraph are dropped."""
        self._check_tensors(tensors, subgraph)
        self.model.subgraphs[subgraph].outputs = list(tensors)
        self._drop_signatures(subgraph)

    def set_signature(
        self,
        key: str,
        *,
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
        subgraph: int = 0,
    ) -> None:
        """Add or replace a signature: names for inputs and outputs.

        Args:
            key: Name of the signature, usually ``serving_default``.
            inputs: Tensor index by argument name.
            outputs: Tensor index by result name.
            subgraph: The subgraph that it runs.
        """
        self._check_tensors([*inputs.values(), *outputs.values()], subgraph)
        kept = [s for s in self.model.signatureDefs or [] if bytes(s.signatureKey) != key.encode()]
        maps = [
            [self.schema.TensorMapT(name=name, tensorIndex=i) for name, i in names.items()]
            for names in (inputs, outputs)
        ]
        added = self.schema.SignatureDefT(
            inputs=maps[0], outputs=maps[1], signatureKey=key.encode(), subgraphIndex=subgraph
        )
        self.model.signatureDefs = [*kept, added]

    def set_metadata(self, name: str, content: bytes) -> None:
        """Add a named metadata buffer, in place of one of the same name."""
        for entry in self.model.metadata or []:
            if bytes(entry.name) == name.encode():
                self.model.buffers[entry.buffer].data = np.frombuffer(content, "u1")
                return
        entry = self.schema.MetadataT(name=name.encode(), buffer=self.add_buffer(content))
        self.model.metadata = [*(self.model.metadata or []), entry]

    def cut(self, inputs: Sequence[int], outputs: Sequence[int], *, subgraph: int = 0) -> None:
        """Reduce a subgraph to what computes ``outputs`` from ``inputs``; signatures are dropped.

        Args:
            inputs: Tensors that become the inputs.
            outputs: Tensors that become the outputs.
            subgraph: The subgraph to cut.

        Raises:
            InvalidConfigError: Something that ``outputs`` need is neither given nor computed.
        """
        graph = self.model.subgraphs[subgraph]
        missing = set(_listed(graph.inputs)) - set(inputs)
        keep_between(graph, inputs, outputs)
        read = {i for op in graph.operators for i in _listed(op.inputs)}
        if missing & read:
            raise InvalidConfigError(
                "the outputs need further inputs", received=f"tensors {sorted(missing & read)}"
            )
        self.set_inputs(inputs, subgraph=subgraph)
        self.set_outputs(outputs, subgraph=subgraph)

    def remove_unused(self) -> None:
        """Drop tensors, buffers and operator codes without use; tensor indices change."""
        remove_unused(self.model)

    def _tensor(self, index: int, subgraph: int) -> Any:
        self._check_tensors([index], subgraph)
        return self.model.subgraphs[subgraph].tensors[index]

    def _check_tensors(self, indices: Iterable[int], subgraph: int, *, lowest: int = 0) -> None:
        count = len(self.model.subgraphs[subgraph].tensors)
        for index in indices:
            if not lowest <= index < count:
                raise InvalidConfigError(
                    "the model has no such tensor", received=f"{index} of {count}"
                )

    def _set_options(self, op: Any, table: str, fields: Mapping[str, Any]) -> None:
        kind = getattr(self.schema.BuiltinOptions, table, None)
        if kind is None:
            raise InvalidConfigError("TFLite has no such options table", received=f"table={table}")
        options = getattr(self.schema, f"{table}T")()
        for field, value in fields.items():
            if not hasattr(options, field):
                raise InvalidConfigError(f"{table} has no such field", received=f"field={field}")
            setattr(options, field, value)
        op.builtinOptionsType, op.builtinOptions = kind, options

    def _signatures(self, subgraph: int) -> list[Any]:
        return [s for s in self.model.signatureDefs or [] if s.subgraphIndex == subgraph]

    def _drop_signatures(self, subgraph: int) -> None:
        every = self.model.signatureDefs or []
        self.model.signatureDefs = [s for s in every if s.subgraphIndex != subgraph] or None


def _to_bytes(array: Array) -> Array:
    """View an array as the bytes that go into a file (little-endian)."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.frombuffer(np.ascontiguousarray(little).tobytes(), "u1")


def _type_code(dtype: str) -> int:
    if dtype not in _TYPE_CODES:
        raise InvalidConfigError("TFLite has no such element type", received=f"dtype={dtype}")
    return _TYPE_CODES[dtype]


def _listed(indices: Any) -> list[int]:
    return [] if indices is None else [int(i) for i in indices]
