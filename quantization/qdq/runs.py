"""Running ONNX networks in memory, whole or up to some tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        (N, *shape without the batch) for each tensor.

    Raises:
        UnsupportedOpError: ONNX Runtime refuses the model.
    """
    runs = list(iterate_onnx(model, images, tensors, threads=threads))
    return tuple(np.concatenate(values) for values in zip(*runs, strict=True))


def iterate_onnx(
    model: Any, images: Any, tensors: Sequence[str], *, threads: int = 1
) -> Iterator[list[Array]]:
    """Yield the tensors of one image after the other: memory does not grow with their number."""
    runtime = import_backend("onnxruntime")
    source = model.graph.input[0].name
    known = {output.name for output in model.graph.output}
    part = model
    if not known.issuperset(tensors) or len(known) != len(tensors):
        # Types of inner tensors are not needed to cut, and not always known.
        part = _cut(model, source, tensors)
    session = _open(runtime, part, threads)
    for image in images:  # what reading one raises is no failure of the model
        yield _run(session, list(tensors), {source: image})


def _open(runtime: Any, model: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    try:
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except list_failures() as error:
        raise _explain(error) from error


def _run(session: Any, tensors: list[str], feeds: dict[str, Array]) -> list[Array]:
    try:
        return list(session.run(tensors, feeds))
    except list_failures() as error:
        raise _explain(error) from error


def _explain(error: Exception) -> UnsupportedOpError:
    return UnsupportedOpError("ONNX Runtime can not run the model", received=summarize(error))


def _cut(model: Any, source: str, tensors: Sequence[str]) -> Any:
    """Keep what computes the tensors, which become the outputs."""
    import onnx

    # The engine writes its nodes behind the others, in no order.
    producers = {name: index for index, n in enumerate(model.graph.node) for name in n.output}
    needed, kept, pending = set(tensors), set[int](), list(tensors)
    while pending:
        index = producers.get(pending.pop())
        if index is None or index in kept:
            continue
        kept.add(index)
        inputs = set(model.graph.node[index].input)
        needed |= inputs
        pending.extend(inputs)
    nodes = [model.graph.node[index] for index in sorted(kept)]
    constants = [t for t in model.graph.initializer if t.name in needed]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in tensors]
    images = [i for i in model.graph.input if i.name == source]
    graph = onnx.helper.make_graph(nodes, "part", images, outputs, constants)
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version
    )
