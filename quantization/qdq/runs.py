"""Running ONNX networks in memory, whole or between some tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgevision.backends import import_backend
from edgevision.errors import UnsupportedOpError, summarize
from edgevision.runtime.onnxruntime import list_failures

Array = np.ndarray[Any, Any]

_ERRORS_ONLY = 3


def run_onnx(
    model: Any, images: Array, tensors: Sequence[str], *, threads: int = 1
) -> tuple[Array, ...]:
    """Run the part of a network that gives some tensors.

    Args:
        model: ``ModelProto``; one input.
        images: (N, *input shape), each a batch of 1.
        tensors: Names of what is wanted.
        threads: Of the runtime.

    Returns:
        (N, *shape) for each tensor.

    Raises:
        UnsupportedOpError: ONNX Runtime refuses the model.
    """
    return run_part(model, {model.graph.input[0].name: images}, tensors, threads=threads)


def run_part(
    model: Any, given: Mapping[str, Array], tensors: Sequence[str], *, threads: int = 1
) -> tuple[Array, ...]:
    """Run what lies between tensors that are known and some that are wanted.

    Args:
        model: ``ModelProto``.
        given: (N, *shape) of each known tensor, its input among them.
        tensors: Names of what is wanted.
        threads: Of the runtime.

    Returns:
        (N, *shape) for each tensor.

    Raises:
        UnsupportedOpError: ONNX Runtime refuses the model.
    """
    needed = find_needed(model, given, tensors)
    used = {name: values for name, values in given.items() if name in needed}
    part = _cut(model, {name: values[0] for name, values in used.items()}, tensors)
    session = _open(part, threads)
    count = len(next(iter(given.values())))
    rows = (_run(session, tensors, {n: v[i] for n, v in used.items()}) for i in range(count))
    results = list[Array]()
    for index, row in enumerate(rows):
        results = results or [np.empty((count, *v.shape), v.dtype) for v in row]
        for result, values in zip(results, row, strict=True):
            result[index] = values
    return tuple(results)


def iterate_onnx(
    model: Any, images: Iterable[Array], tensors: Sequence[str], *, threads: int = 1
) -> Iterator[list[Array]]:
    """Yield the tensors of one image after the other: memory does not grow with their number."""
    source = model.graph.input[0].name
    session = None
    for image in images:  # what reading one raises is no failure of the model
        session = session or _open(_cut(model, {source: image}, tensors), threads)
        yield _run(session, tensors, {source: image})


def find_needed(model: Any, known: Collection[str], tensors: Sequence[str]) -> set[str]:
    """Return the tensors, known ones and others, that some are computed from; themselves too."""
    return _trace(model, known, tensors)[1]


def _trace(model: Any, known: Collection[str], tensors: Sequence[str]) -> tuple[set[int], set[str]]:
    """Return the positions of the nodes between known tensors and others, and what they touch."""
    # The engine writes its nodes behind the others, in no order.
    producers = {name: index for index, n in enumerate(model.graph.node) for name in n.output}
    nodes, seen, pending = set[int](), set[str](), list(tensors)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        index = producers.get(name)
        if name not in known and index is not None:
            nodes.add(index)
            pending.extend(model.graph.node[index].input)
    return nodes, seen


def _cut(model: Any, given: Mapping[str, Array], tensors: Sequence[str]) -> Any:
    """Make a model of what computes tensors from known ones, of which one image is given."""
    helper = import_backend("onnx").helper
    kept, touched = _trace(model, given, tensors)
    nodes = [model.graph.node[index] for index in sorted(kept)]
    constants = [t for t in model.graph.initializer if t.name in touched and t.name not in given]
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in given.items()
    ]
    # Types of inner tensors are not needed, and not always known.
    outputs = [helper.make_empty_tensor_value_info(name) for name in tensors]
    graph = helper.make_graph(nodes, "part", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _open(model: Any, threads: int) -> Any:
    runtime = import_backend("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except list_failures() as error:
        raise _explain(error) from error


def _run(session: Any, tensors: Sequence[str], feeds: dict[str, Array]) -> list[Array]:
    try:
        return list(session.run(list(tensors), feeds))
    except list_failures() as error:
        raise _explain(error) from error


def _explain(error: Exception) -> UnsupportedOpError:
    return UnsupportedOpError("ONNX Runtime can not run the model", received=summarize(error))
