"""Why does a quantized file, whoever wrote it, not answer like the float one?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgevision.converters.endings import take_off_tflite
from edgevision.errors import InvalidModelError, UnsupportedOpError
from edgevision.graph.graph import Graph
from edgevision.graph.tflite import map_file, read_tflite
from edgevision.quantization.diagnosis.diagnosis import MAX_IMAGES, Diagnosis, diagnose_networks
from edgevision.quantization.images import open_images
from edgevision.quantization.source import FloatModel, normalize_model, open_source
from edgevision.specs import Progress
from edgevision.threads import resolve_threads

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
        model: The float ``.tflite`` that the quantized one was made from.
        quantized: The quantized ``.tflite``.
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
        UnsupportedOpError: A model has several inputs, dynamic shapes, or is no ``.tflite``.
        DataError: An image is broken (it is named), or there is none.
    """
    source = open_source(model, contract)
    candidate = _open_quantized(quantized, source)
    count = min(limit or MAX_IMAGES, MAX_IMAGES)
    images = open_images(source.contract, source.graph, data, limit=count, skip_broken=skip_broken)
    workers = resolve_threads(threads)
    for _ in images.iterate(source.graph, workers):
        pass  # they are kept
    return diagnose_networks(
        (source.data, candidate), images.kept, threads=workers, progress=progress
    )


def _open_quantized(path: str | Path, source: FloatModel) -> bytes:
    """Read the quantized file without its ending, and refuse what can not be compared."""
    place = Path(path)
    if place.exists() and place.suffix.lower() != ".tflite":
        raise UnsupportedOpError(
            "only .tflite files are diagnosed in this version",
            received=place,
            remedy="diagnose the .tflite of the same model",
        )
    whole = read_tflite(place)
    if not _has_integers(whole):
        raise InvalidModelError(
            "the second file is not quantized",
            received=place,
            remedy="name the float file first and the quantized one second",
        )
    data = normalize_model(take_off_tflite(bytes(map_file(place))).data)
    graph = read_tflite(data)
    shapes = [[list(t.shape) for t in g.input_specs()] for g in (source.graph, graph)]
    if shapes[0] != shapes[1]:
        raise InvalidModelError(
            "the two files take different inputs",
            received=f"float {shapes[0]}, quantized {shapes[1]}",
            remedy="give the float file that the quantized one was made from",
        )
    return data


def _has_integers(graph: Graph) -> bool:
    return any(
        t.constant and (t.dtype == "float16" or (t.dtype in _INTEGERS and t.quantization))
        for t in graph.tensors
    )
