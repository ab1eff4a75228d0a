"""Order and unused parts of an unpacked TFLite model (the schema's object classes)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Any

from edgevision.errors import InvalidModelError


def sort_operators(operators: Sequence[Any]) -> list[Any]:
    """Order operations so that every tensor is written before it is read.

    A valid order comes back unchanged; otherwise operations move no further than they must.

    Args:
        operators: ``OperatorT`` objects, or anything with ``inputs`` and ``outputs``.

    Raises:
        InvalidModelError: They depend on each other in a circle.
    """
    writers: dict[int, int] = {}
    for index, op in enumerate(operators):
        writers.update((t, index) for t in list_indices(op.outputs))
    needs = [
        {writers[t] for t in list_indices(op.inputs) if t in writers} - {i}
        for i, op in enumerate(operators)
    ]
    readers: dict[int, list[int]] = {}
    for index, needed in enumerate(needs):
        for writer in needed:
            readers.setdefault(writer, []).append(index)
    waiting = [len(needed) for needed in needs]
    ready = [i for i, count in enumerate(waiting) if not count]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(operators):
        raise InvalidModelError(
            "operations depend on each other in a circle",
            received=f"{len(operators) - len(order)} of {len(operators)} operations",
        )
    return [operators[i] for i in order]


def keep_between(subgraph: Any, inputs: Iterable[int], outputs: Iterable[int]) -> None:
    """Keep the operations that compute ``outputs`` from ``inputs``, and drop all others."""
    writers = {t: op for op in subgraph.operators for t in list_indices(op.outputs)}
    given = set(inputs)
    needed: set[int] = set()
    open_tensors = [t for t in outputs if t not in given]
    while open_tensors:
        op = writers.get(open_tensors.pop())
        if op is None or id(op) in needed:
            continue
        needed.add(id(op))
        open_tensors.extend(t for t in list_indices(op.inputs) if t not in given)
    subgraph.operators = [op for op in subgraph.operators if id(op) in needed]


def remove_unused(model: Any) -> None:
    """Drop tensors, buffers and operator codes that nothing refers to any more.

    Args:
        model: A ``ModelT``, changed in place; tensor indices change.
    """
    for index, subgraph in enumerate(model.subgraphs):
        signatures = [s for s in model.signatureDefs or [] if s.subgraphIndex == index]
        _remove_unused_tensors(subgraph, signatures)
    remove_unused_buffers(model)
    _remove_unused_codes(model)


def list_indices(indices: Any) -> list[int]:
    """Return the tensor indices of an operation, without the -1 of absent inputs."""
    return [] if indices is None else [int(i) for i in indices if i >= 0]


def _remove_unused_tensors(subgraph: Any, signatures: Sequence[Any]) -> None:
    used = {*list_indices(subgraph.inputs), *list_indices(subgraph.outputs)}
    for op in subgraph.operators or []:
        for indices in (op.inputs, op.outputs, op.intermediates):
            used.update(list_indices(indices))
    entries = [e for s in signatures for e in (*(s.inputs or []), *(s.outputs or []))]
    used.update(entry.tensorIndex for entry in entries)
    mapping = _renumber(used)
    mapping[-1] = -1
    subgraph.tensors = [subgraph.tensors[i] for i in sorted(used)]
    for holder, names in [
        (subgraph, ("inputs", "outputs")),
        *((op, ("inputs", "outputs", "intermediates")) for op in subgraph.operators or []),
    ]:
        for name in names:
            indices = getattr(holder, name)
            if indices is not None:
                setattr(holder, name, [mapping[int(i)] for i in indices])
    for entry in entries:
        entry.tensorIndex = mapping[entry.tensorIndex]


def remove_unused_buffers(model: Any) -> None:
    """Drop the buffers of a ``ModelT`` that no tensor and no metadata refer to."""
    tensors = [t for subgraph in model.subgraphs for t in subgraph.tensors]
    holders = [*tensors, *(model.metadata or [])]
    listed = list_indices(model.metadataBuffer)
    # Buffer 0 is the empty one that activations refer to.
    used = {0, *(holder.buffer for holder in holders), *listed}
    mapping = _renumber(used)
    model.buffers = [model.buffers[i] for i in sorted(used)]
    for holder in holders:
        holder.buffer = mapping[holder.buffer]
    model.metadataBuffer = [mapping[i] for i in listed] or None


def _remove_unused_codes(model: Any) -> None:
    operators = [op for subgraph in model.subgraphs for op in subgraph.operators or []]
    used = {op.opcodeIndex for op in operators}
    mapping = _renumber(used)
    model.operatorCodes = [model.operatorCodes[i] for i in sorted(used)]
    for op in operators:
        op.opcodeIndex = mapping[op.opcodeIndex]


def _renumber(used: Iterable[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(sorted(used))}
