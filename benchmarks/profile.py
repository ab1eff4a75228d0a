"""What a network costs: multiply-accumulates, parameters, memory and file size, without running it.

A zoo name is answered from shapes alone, a ``.tflite`` from its own bytes: neither loads
TensorFlow.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from edgevision.benchmarks.macs import MacCount, ParamCount, count_macs, count_params
from edgevision.benchmarks.memory import (
    PLANNERS,
    MemoryPlan,
    Planner,
    measure_memory,
    plan_memory,
)
from edgevision.errors import InvalidConfigError, InvalidModelError
from edgevision.graph.blocks import name_blocks, name_layer
from edgevision.graph.graph import Graph, Op, Tensor
from edgevision.specs import ModelFormat

_DEFAULTS: Mapping[str, object] = {
    "alpha": 1.0,
    "input_size": None,
    "num_classes": None,
    "channels": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProfile:
    """One operation.

    Attributes:
        index: Place in the order of execution.
        op: What its own format calls it.
        name: Name of the layer or node, or of its first output where it has none.
        output_shape: At batch 1.
        macs: Multiply-accumulates; ``None`` where this kind is not counted.
        params: Elements of the weights that no earlier operation uses.
        output_bytes: Size of all outputs.
        block: Part of the network that it belongs to, by its name.
        moved_bytes: Size of inputs, weights and outputs, each read or written once.
    """

    index: int
    op: str
    name: str
    output_shape: tuple[int, ...]
    macs: int | None
    params: int
    output_bytes: int
    block: str
    moved_bytes: int

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates per byte that must move; ``None`` where none are counted.

        A low figure says that memory, not arithmetic, limits the layer (Williams et al. 2009,
        "Roofline", https://doi.org/10.1145/1498765.1498785).
        """
        return None if self.macs is None else self.macs / max(self.moved_bytes, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        values = {**asdict(self), "intensity": self.intensity}
        values["output_shape"] = list(self.output_shape)
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockProfile:
    """What the layers of one block cost together.

    Attributes:
        name: Of the block, in order of its first layer.
        num_layers: Operations in it.
        macs: Multiply-accumulates.
        params: Elements of its weights.
        peak_bytes: Largest output among its layers.
    """

    name: str
    num_layers: int
    macs: int
    params: int
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one network costs, at batch 1.

    Attributes:
        target: Zoo name or path, as asked.
        format: Of the file; ``None`` for a zoo name.
        input_shape: Of the first input.
        dtypes: Number of activations by element type.
        macs: Multiply-accumulates of convolutions and matrix products.
        params: Parameters; see ``count_params`` for what they are in a deployed file.
        trainable_params: ``None`` for a deployed file.
        file_bytes: Of the file with its external data; ``None`` for a zoo name.
        peak_activation_bytes: Arena of activations that TFLite Micro's planner needs.
        activation_lower_bound_bytes: What every planner needs at least.
        uncounted_ops: Number of operations by name that ``macs`` leaves out.
        graph: What was profiled.
    """

    target: str
    format: ModelFormat | None
    input_shape: tuple[int, ...]
    dtypes: Mapping[str, int]
    macs: int
    params: int
    trainable_params: int | None
    file_bytes: int | None
    peak_activation_bytes: int
    activation_lower_bound_bytes: int
    uncounted_ops: Mapping[str, int]
    graph: Graph = field(repr=False)

    @cached_property
    def layers(self) -> tuple[LayerProfile, ...]:
        """One entry per operation; made when asked for, as most callers want totals only."""
        graph = self.graph
        macs, params = count_macs(graph), count_params(graph)
        blocks = name_blocks([name_layer(graph, op) for op in graph.ops])
        return tuple(
            _profile_layer(graph, op, macs, params, block)
            for op, block in zip(graph.ops, blocks, strict=True)
        )

    def group_blocks(self) -> tuple[BlockProfile, ...]:
        """Return the costs by block, in order of execution."""
        groups: dict[str, list[LayerProfile]] = {}
        for layer in self.layers:
            groups.setdefault(layer.block, []).append(layer)
        return tuple(
            BlockProfile(
                name=name,
                num_layers=len(layers),
                macs=sum(layer.macs or 0 for layer in layers),
                params=sum(layer.params for layer in layers),
                peak_bytes=max(layer.output_bytes for layer in layers),
            )
            for name, layers in groups.items()
        )

    def plan_arena(self, planner: Planner) -> MemoryPlan:
        """Return where a planner places every activation."""
        return plan_memory(self.graph, planner)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        left_out = ("graph", "format")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left_out}
        values["format"] = None if self.format is None else self.format.value
        values["input_shape"] = list(self.input_shape)
        values["arena_bytes"] = {p.name: self.plan_arena(p).peak_bytes for p in PLANNERS}
        values["layers"] = [layer.to_dict() for layer in self.layers]
        values["blocks"] = [asdict(block) for block in self.group_blocks()]
        return values


def profile(
    target: str | Path,
    *,
    alpha: float = 1.0,
    input_size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    channels: int = 3,
) -> Profile:
    """Profile a network of the zoo or a model file.

    Args:
        target: A zoo name (see ``list_models``) or a path; what exists, or has a suffix or a
            separator in it, is a path.
        alpha: Width of a zoo network.
        input_size: Side, or (height, width), of a zoo network's input; its usual one by default.
        num_classes: Of a zoo network; 1,000, 90 or 21 by its task.
        channels: Of a zoo network's input.

    Raises:
        InvalidConfigError: An unknown name, an impossible setting, or settings given for a file.
        MissingFileError: There is no such file.
        InvalidModelError: The file is damaged, or its input size is not fixed.
        BackendUnavailableError: The extra that reads this format is not installed.
    """
    settings = {
        "alpha": alpha,
        "input_size": input_size,
        "num_classes": num_classes,
        "channels": channels,
    }
    if is_model_path(target):
        return profile_graph(_read_file(target, settings), target=str(target))
    from edgevision.models.registry import build_graph

    graph = build_graph(
        str(target),
        alpha=alpha,
        input_size=input_size,
        num_classes=num_classes,
        channels=channels,
    )
    return profile_graph(graph, target=str(target))


def is_model_path(target: str | Path) -> bool:
    """Whether a target names a file rather than a network of the zoo.

    >>> is_model_path("mobilenet_v2"), is_model_path("net.tflite"), is_model_path("runs/net")
    (False, True, True)
    """
    if isinstance(target, Path) or os.sep in target or "/" in target:
        return True
    path = Path(target)
    return bool(path.suffix) or path.is_file() or (path / "saved_model.pb").is_file()


def profile_graph(graph: Graph, *, target: str = "") -> Profile:
    """Profile a graph that is already read or built.

    Raises:
        InvalidModelError: An input has a dynamic dimension besides its batch.
    """
    _check_inputs(graph)
    macs, params = count_macs(graph), count_params(graph)
    peak_bytes, bound_bytes = measure_memory(graph)
    return Profile(
        target=target or graph.name,
        format=graph.format,
        input_shape=_fix_shape(graph.tensors[graph.inputs[0]].shape) if graph.inputs else (),
        dtypes=_count_dtypes(graph),
        macs=macs.total,
        params=params.total,
        trainable_params=params.trainable,
        file_bytes=graph.file_bytes or None,
        peak_activation_bytes=peak_bytes,
        activation_lower_bound_bytes=bound_bytes,
        uncounted_ops=macs.uncounted,
        graph=graph,
    )


def _read_file(target: str | Path, settings: Mapping[str, object]) -> Graph:
    """Read a model file, for which nothing can be chosen any more."""
    given = [f"{k}={v}" for k, v in settings.items() if v != _DEFAULTS[k]]
    if given:
        raise InvalidConfigError(
            "a file has its width, input size and classes already",
            received=", ".join(given),
            remedy="leave these options out, or name a network of the zoo",
        )
    from edgevision.graph.reader import read_graph

    return read_graph(target)


def _check_inputs(graph: Graph) -> None:
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if any(d < 0 for d in tensor.shape[1:]):
            raise InvalidModelError(
                "the input size is not fixed, so nothing can be counted",
                received=f"{tensor.name} {list(tensor.shape)}",
                remedy="export the model with a fixed height and width",
            )


def _profile_layer(
    graph: Graph, op: Op, macs: MacCount, params: ParamCount, block: str
) -> LayerProfile:
    tensors = graph.tensors
    # An operation without a first output does not exist in sound files.
    output = tensors[op.outputs[0]] if op.outputs and op.outputs[0] >= 0 else _NOTHING
    single = len(op.outputs) == 1
    output_bytes = output.nbytes if single else sum(t.nbytes for t in graph.op_outputs(op))
    return LayerProfile(
        index=op.index,
        op=op.name,
        name=name_layer(graph, op),
        output_shape=_fix_shape(output.shape),
        macs=macs.per_op.get(op.index),
        params=params.per_op.get(op.index, 0),
        output_bytes=output_bytes,
        block=block,
        moved_bytes=output_bytes + sum(t.nbytes for t in graph.op_inputs(op)),
    )


_NOTHING = Tensor(-1, "", (), "")


def _fix_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(d, 1) for d in shape) if -1 in shape else shape


def _count_dtypes(graph: Graph) -> dict[str, int]:
    written = [i for op in graph.ops for i in op.outputs if i >= 0]
    return dict(Counter([graph.tensors[i].dtype for i in (*graph.inputs, *written)]))
