"""The adapter to ai-edge-quantizer: a float ``.tflite`` and our ranges in, a quantized one out."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import UnsupportedOpError, summarize
from edgevision.graph.flatbuffer import ModelEditor
from edgevision.graph.flatbuffer_packing import load_schema
from edgevision.graph.graph import Graph, Op
from edgevision.graph.tflite import read_tflite
from edgevision.quantization.calibrate import NARROWEST, NARROWEST_16_BIT, widen_range
from edgevision.quantization.islands import Island
from edgevision.quantization.schemes import SCHEMES, create_recipe
from edgevision.runtime.native_log import hide_announcements
from edgevision.specs import Lift, Scheme

Bounds = Mapping[int, tuple[float, float]]
"""Minimum and maximum of every float activation by tensor index."""


def load_engine() -> Any:
    """Import the engine (about a second: do it while the interpreter works).

    Raises:
        BackendUnavailableError: It is not installed.
    """
    return import_backend("ai_edge_quantizer.quantizer")


def run_engine(
    model: bytes,
    graph: Graph,
    scheme: Scheme,
    *,
    bounds: Bounds | None = None,
    island: Island | None = None,
) -> bytes:
    """Quantize a float model.

    Operations that the engine does not know stay in float, between a DEQUANTIZE and a QUANTIZE.

    Args:
        model: Bytes of the float ``.tflite``.
        graph: The same model, read.
        scheme: What becomes integer.
        bounds: Range of every float activation; not needed where activations stay float.
        island: Operations that are lifted to float or to 16-bit activations.

    Returns:
        Bytes of the quantized ``.tflite``.

    Raises:
        UnsupportedOpError: The engine can not quantize the model.
        BackendUnavailableError: The engine is not installed.
    """
    quantizer = load_engine()
    statistics = None
    if SCHEMES[scheme].needs_ranges:
        wide = _list_16_bit(graph, scheme, island)
        statistics = _describe_ranges(graph, bounds or {}, wide)
    with _quiet():
        try:
            engine = quantizer.Quantizer(bytearray(model), _write_recipe(graph, scheme, island))
            result = engine.quantize(
                statistics, enable_progress_bar=False, enable_progress_report=False
            )
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UnsupportedOpError(
                "ai-edge-quantizer can not quantize this model",
                received=f"scheme={scheme}: {summarize(error)}",
                remedy="try --scheme dynamic or float16",
            ) from error
    quantized = drop_idle_steps(bytes(result.quantized_model))
    return quantized if island is None else _free_outputs(quantized, graph, island)


def list_16_bit_ops(graph: Graph, scheme: Scheme) -> frozenset[int]:
    """List the operations for which the engine knows 16-bit activations, by index.

    Args:
        graph: A float network.
        scheme: Whose weights they have.

    Raises:
        BackendUnavailableError: The engine is not installed.
    """
    manager = import_backend("ai_edge_quantizer.algorithm_manager")
    names = import_backend("ai_edge_quantizer.utils.tfl_flatbuffer_utils").TFL_OP_CODE_TO_NAME
    config = import_backend("ai_edge_quantizer.qtyping").OpQuantizationConfig
    codes = load_schema().BuiltinOperator
    rule = create_recipe(scheme, ["any"], Lift.INT16)[-1]

    def is_known(op: Op) -> bool:
        name = names.get(getattr(codes, op.name, None))
        if name is None:
            return False
        try:
            manager.check_op_quantization_config(
                rule["algorithm_key"], name, config.from_dict(rule["op_config"])
            )
        except ValueError:
            return False
        return True

    return frozenset(op.index for op in graph.ops if is_known(op))


def drop_idle_steps(model: bytes) -> bytes:
    """Remove every QUANTIZE that changes neither type nor scale.

    The engine writes one in front of a concatenation even where the scales are the same.
    """
    graph = read_tflite(model)
    idle = [op for op in graph.ops if op.name == "QUANTIZE" and _is_idle(graph, op)]
    return _bypass(model, idle)


def _free_outputs(model: bytes, graph: Graph, island: Island) -> bytes:
    """Let outputs that an island writes be as wide as they are there.

    The engine rounds them to 8 bits at last where there are several.
    """
    names = {graph.tensors[t].name for index in island.ops for t in graph.ops[index].outputs}
    quantized = read_tflite(model)
    last = [
        op
        for op in quantized.ops
        if op.name == "QUANTIZE"
        and op.outputs[0] in quantized.outputs
        and not quantized.consumers.get(op.outputs[0])
        and quantized.tensors[op.inputs[0]].name in names
    ]
    return _bypass(model, last)


def _bypass(model: bytes, ops: Sequence[Op]) -> bytes:
    """Take out operations, whose readers then read what they read."""
    if not ops:
        return model
    editor = ModelEditor(model)
    for op in ops:
        editor.rewire(op.outputs[0], op.inputs[0])
    editor.remove_ops([op.index for op in ops])
    editor.remove_unused()
    return editor.to_bytes()


def _is_idle(graph: Graph, op: Op) -> bool:
    before, after = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    bare = op.inputs[0] in graph.inputs and op.outputs[0] in graph.outputs
    same = before.dtype == after.dtype and before.quantization == after.quantization
    return same and before.quantization is not None and not bare


def _write_recipe(graph: Graph, scheme: Scheme, island: Island | None) -> list[dict[str, Any]]:
    if island is None:
        return create_recipe(scheme)
    outputs = (graph.ops[index].outputs for index in island.ops)
    names = [";".join(graph.tensors[t].name for t in written) for written in outputs]
    return create_recipe(scheme, names, island.lift)


def _list_16_bit(graph: Graph, scheme: Scheme, island: Island | None) -> set[int]:
    """List the tensors that have 16 bits for some operation."""
    if SCHEMES[scheme].activation_bits == 16:
        return set(range(len(graph.tensors)))
    if island is None or island.lift is not Lift.INT16:
        return set()
    ops = (graph.ops[index] for index in island.ops)
    return {tensor for op in ops for tensor in (*op.inputs, *op.outputs)}


def _describe_ranges(graph: Graph, bounds: Bounds, wide: set[int]) -> dict[str, dict[str, Any]]:
    """Write ranges the way the engine calibrates: by tensor name.

    Those of 16 bits are not as narrow as those of 8 may be. Constants are left out on purpose: a
    range given for a weight would make it per-tensor.
    """
    described = {}
    for index, seen in bounds.items():
        low, high = widen_range(*seen, NARROWEST_16_BIT if index in wide else NARROWEST)
        described[graph.tensors[index].name] = {
            "min": np.array([low], np.float32),
            "max": np.array([high], np.float32),
        }
    return described


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the engine's prints, logs and warnings away from the caller's streams."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            hide_announcements(),
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),  # progress bars
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
