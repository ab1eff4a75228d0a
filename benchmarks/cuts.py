"""Cutting a ``.tflite`` network into operations that can run alone, on the values they get."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.benchmarks.memory import find_constants
from edgevision.benchmarks.probe import draw_values as draw
from edgevision.errors import EdgeVisionError
from edgevision.graph.flatbuffer import extract_part
from edgevision.graph.graph import Graph, Op, spec_of
from edgevision.graph.ops import OpKind
from edgevision.runtime.litert import find_interpreter
from edgevision.runtime.native_log import hide_announcements

Array = np.ndarray[Any, Any]

_CONVOLUTIONS = frozenset({OpKind.CONV_2D, OpKind.DEPTHWISE_CONV_2D})
CONSTANT = "computed from constants when the file is loaded"
FUSED = "part of the convolution behind it, as XNNPACK joins them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One operation as a model of its own.

    Attributes:
        op: Its index in the whole network.
        inputs: Tensors of the whole network that it takes, in the order of the piece's inputs.
        model: Bytes of the file.
    """

    op: int
    inputs: tuple[int, ...]
    model: bytes


def cut_operations(
    model: bytes, graph: Graph, partition_of: Sequence[int]
) -> tuple[list[Piece], dict[int, str]]:
    """Cut every operation out of a network.

    Args:
        model: Bytes of the whole file.
        graph: The same, read.
        partition_of: For each operation the delegate call that it is part of, or -1.

    Returns:
        The pieces, and for operations that are not measured alone the reason by index.
    """
    constants = find_constants(graph)
    fused = find_fused_paddings(graph, partition_of)
    pieces, notes = [], {}
    for op in graph.ops:
        outputs = [i for i in op.outputs if i >= 0]
        if constants.issuperset(outputs):
            notes[op.index] = CONSTANT
        elif op.index in fused:
            notes[op.index] = FUSED
        else:
            inputs = tuple(dict.fromkeys(_list_inputs(graph, op, fused, constants)))
            try:
                part = extract_part(model, inputs, outputs)
            except EdgeVisionError as error:
                notes[op.index] = f"can not be cut out: {error}"
            else:
                pieces.append(Piece(op=op.index, inputs=inputs, model=part))
    return pieces, notes


def find_fused_paddings(graph: Graph, partition_of: Sequence[int]) -> frozenset[int]:
    """Return the paddings that XNNPACK makes part of the only convolution that reads them."""
    found = set()
    for op in graph.ops:
        if op.kind is not OpKind.PAD or partition_of[op.index] < 0:
            continue
        readers = graph.consumers.get(op.outputs[0], ())
        if len(readers) != 1 or op.outputs[0] in graph.outputs:
            continue
        reader = graph.ops[readers[0]]
        joined = partition_of[reader.index] == partition_of[op.index]
        if joined and reader.kind in _CONVOLUTIONS and reader.attributes.get("padding") == "valid":
            found.add(op.index)
    return frozenset(found)


def _list_inputs(graph: Graph, op: Op, fused: frozenset[int], constants: set[int]) -> list[int]:
    """List what flows into an operation; into a fused padding, where it stands before it."""
    found = []
    for index in op.inputs:
        writer = graph.producers.get(index, -1)
        if writer in fused:
            found += _list_inputs(graph, graph.ops[writer], fused, constants)
        elif index not in constants:
            found.append(index)
    return found


def capture_values(path: str | Path, graph: Graph) -> dict[int, Array] | None:
    """Return the values of every tensor when the network answers a random input.

    Returns:
        Arrays by tensor index; ``None`` where the interpreter can not run the network without
        delegates, or keeps no values.
    """
    runtime, _ = find_interpreter()
    try:
        with hide_announcements(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
            interpreter = runtime.Interpreter(
                model_path=str(path),
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=(
                    runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ),
            )
            interpreter.allocate_tensors()
            for index, array in draw_values(graph, graph.inputs).items():
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            constants = find_constants(graph)
            flowing = {i for op in graph.ops for i in (*op.inputs, *op.outputs)} - constants
            flowing.update(graph.inputs)
            return {i: interpreter.get_tensor(i) for i in sorted(flowing)}
    except (ValueError, RuntimeError, TypeError):
        return None


def draw_values(graph: Graph, tensors: Sequence[int] | None = None) -> dict[int, Array]:
    """Return random values for tensors, by default for all that are no constants."""
    wanted = [t.index for t in graph.tensors if not t.constant] if tensors is None else tensors
    rng = np.random.default_rng(0)
    return {i: draw(spec_of(graph.tensors[i]), rng) for i in wanted}
