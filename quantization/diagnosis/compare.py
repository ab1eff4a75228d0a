"""Why does a quantized file, whoever wrote it, not answer like the float one?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgevision.converters.endings import take_off_tflite
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import map_file, read_tflite
from edgevision.quantization.diagnosis.diagnosis import MAX_IMAGES, Diagnosis, diagnose_networks
from edgevision.quantization.diagnosis.pairing import check_inputs, not_quantized
from edgevision.quantization.images import open_images
from edgevision.quantization.qdq.diagnose import diagnose_onnx_networks, open_quantized_onnx
from edgevision.quantization.qdq.source import OnnxSource, open_onnx
from edgevision.quantization.source import FloatModel, normalize_model, open_source
from edgevision.specs import Progress
from edgevision.threads import resolve_threads

Array = np.ndarray[Any, Any]

_FORMATS = (".tflite", ".onnx")
_INTEGERS = ("int8", "uint8", "int16", "int4")


def diagnose(
    model: str | Path,
    quantized: str | Path,
    *,
    data: str | Path,
    limit: int | None = None,
    skip_broken: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    **contract: Any,
) -> Diagnosis:
    """Find out which layers of a quantized file lost what, and why.

    The quantized file may come from any tool: layers are paired by what they compute, their shapes
    and the signs of their weights. Channels that were equalized are scaled back, and copies of a
    channel count as one: their mean is what the next layer reads. A channel that nobody reads any
    more is no loss. Layers that a tool put in or took away are left out. Neither file is changed.

    Args:
        model: The float ``.tflite`` or ``.onnx`` that the quantized one was made from.
        quantized: The quantized file, of the same format; an ``.onnx`` with QuantizeLinear and
            DequantizeLinear nodes.
        data: Folder of typical images, labels not needed; 16 of them are used.
        limit: Use fewer.
        skip_broken: Leave out images that can not be decoded, instead of failing.
        threads: CPU threads; by default the usable physical cores, at most 4.
        progress: Called while it works.
        **contract: What the float file does not state, or states wrong: ``mean``, ``std`` …

    Returns:
        What was measured of every layer, and every cause with its evidence.

    Raises:
        MissingFileError: A file or the folder does not exist.
        InvalidModelError: A file is damaged, the first one is quantized, the second one is not,
            or the two are not the same network.
        UnsupportedOpError: A model has several inputs, dynamic shapes, or another format.
        DataError: An image is broken (it is named), or there is none.
    """
    pair = Path(model), Path(quantized)
    _check_formats(pair)
    workers = resolve_threads(threads)

    def open_kept(source: FloatModel | OnnxSource) -> Array:
        count = min(limit or MAX_IMAGES, MAX_IMAGES)
        graph = source.graph
        images = open_images(source.contract, graph, data, limit=count, skip_broken=skip_broken)
        for _ in images.iterate(graph, workers):
            pass  # they are kept
        return images.kept

    if pair[0].suffix.lower() == ".onnx":
        opened = open_onnx(pair[0], contract)
        network = open_quantized_onnx(pair[1], opened)
        return diagnose_onnx_networks(
            (opened.network.model, network),
            open_kept(opened),
            tailless=bool(opened.tail),
            threads=workers,
            progress=progress,
        )
    source = open_source(pair[0], contract)
    candidate = _open_quantized(pair[1], source)
    return diagnose_networks(
        (source.data, candidate), open_kept(source), threads=workers, progress=progress
    )


def _check_formats(pair: tuple[Path, Path]) -> None:
    """Refuse files of formats that are not diagnosed, or of two; missing ones are told later."""
    formats = [path.suffix.lower() for path in pair]
    for path, suffix in zip(pair, formats, strict=True):
        if suffix not in _FORMATS and path.exists():
            raise UnsupportedOpError(
                "only .tflite and .onnx files are diagnosed",
                received=path,
                remedy="convert the float model first: edgevision convert",
            )
    if formats[0] != formats[1]:
        raise InvalidModelError(
            "a float file and what was made of it have one format",
            received=f"{pair[0]}, {pair[1]}",
            remedy="name two .tflite or two .onnx files, the float one first",
        )


def _open_quantized(place: Path, source: FloatModel) -> bytes:
    """Read the quantized file without its ending, and refuse what can not be compared."""
    whole = read_tflite(place)
    if not _has_integers(whole):
        raise not_quantized(place)
    data = normalize_model(take_off_tflite(bytes(map_file(place))).data)
    check_inputs(source.graph, read_tflite(data))
    return data


def _has_integers(graph: Graph) -> bool:
    return any(
        t.constant and (t.dtype == "float16" or (t.dtype in _INTEGERS and t.quantization))
        for t in graph.tensors
    )
