"""The diagnosis of QDQ networks: the same measurements as of a ``.tflite``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.errors import UnsupportedOpError
from edgevision.graph.onnx import read_onnx, read_onnx_model
from edgevision.graph.ops import OpKind
from edgevision.quantization.diagnosis.diagnosis import Diagnosis, choose_images, diagnose_walks
from edgevision.quantization.diagnosis.pairing import check_inputs, not_quantized
from edgevision.quantization.qdq.codes import join_codes
from edgevision.quantization.qdq.engine import fix_batch
from edgevision.quantization.qdq.order import sort_ops
from edgevision.quantization.qdq.source import (
    OnnxSource,
    find_ends,
    find_tail,
    load_body,
    take_off,
)
from edgevision.quantization.qdq.view import View, view_graph
from edgevision.quantization.qdq.view_walk import ViewWalk
from edgevision.specs import Progress

Array = np.ndarray[Any, Any]


def diagnose_onnx_networks(
    models: tuple[Any, Any],
    images: Array,
    *,
    tailless: bool = False,
    threads: int = 1,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure every layer of a QDQ network against the float one, and look for causes.

    Args:
        models: ``ModelProto`` of the float and of the QDQ network.
        images: (N, *input shape) float32; a few of them are used.
        tailless: Leave out what no layer with weights needs, such as a suppression of boxes.
        threads: Of the runtime.
        progress: Called after every layer.

    Raises:
        InvalidModelError: The two are not the same network.
    """
    views = [view_graph(sort_ops(join_codes(read_onnx_model(model)))) for model in models]
    if tailless:
        views = [_drop_tail(view) for view in views]
    few = choose_images(views[0].graph, images)
    before, after = (
        ViewWalk(model, view, few, threads=threads)
        for model, view in zip(models, views, strict=True)
    )
    return diagnose_walks((before, after), few, progress=progress)


def open_quantized_onnx(path: Path, source: OnnxSource) -> Any:
    """Read a QDQ file without its ending, and refuse what can not be compared.

    Args:
        path: The file.
        source: The float model.

    Returns:
        ``ModelProto``.

    Raises:
        MissingFileError: There is no such file.
        InvalidModelError: It is damaged, is not quantized, or takes other inputs.
        UnsupportedOpError: Its operations compute in integers themselves.
    """
    graph = read_onnx(path)
    joined = [op.name for op in graph.ops if op.name.startswith("QLinear")]
    if joined:
        raise UnsupportedOpError(
            "of .onnx files those with QuantizeLinear and DequantizeLinear nodes are diagnosed",
            received=f"{path}: it holds {joined[0]}",
            remedy="quantize into the QDQ form",
        )
    if not any(op.kind is OpKind.DEQUANTIZE for op in graph.ops):
        raise not_quantized(path)
    model = load_body(path, take_off(path, graph, source.contract))
    fix_batch(model)
    check_inputs(source.network.graph, view_graph(join_codes(read_onnx_model(model))).graph)
    return model


def _drop_tail(view: View) -> View:
    graph = view.graph
    tail = find_tail(graph)
    gone = {op.index for op in tail}
    kept = [op for op in graph.ops if op.index not in gone]
    ops = tuple(replace(op, index=index) for index, op in enumerate(kept))
    ends = tuple(find_ends(graph, tail))
    return View(graph=replace(graph, ops=ops, outputs=ends), turned=view.turned)
